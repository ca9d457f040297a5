"""Every command line and example of `pentary_training_tools.md`, with only import lines and paths changed, and what it claims."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.__main__ import main
from tests.workspace import PROJECT

FIVE = {-2, -1, 0, 1, 2}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.random.seed(0)
    return tmp_path


def command(monkeypatch, line: str) -> None:
    """A command line of the document: `python tools/train_pentary_nn.py` is `python -m pipeline pentary` here."""
    monkeypatch.setattr(sys, "argv", ["pipeline", "pentary", *shlex.split(line.replace("\\\n", " "))])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0


def original_reader(path: Path, x: np.ndarray) -> np.ndarray:
    """What the document's own reader computes of a saved model, by its keys alone: linear layers and ReLUs in NumPy."""
    model = json.loads(path.read_text())
    assert {"input_dim", "output_dim", "hidden_dims", "layers"} <= model.keys()
    for layer in model["layers"]:
        if layer["type"] == "linear":
            digits = np.array(layer["weight_pentary"], dtype=np.int32)
            assert digits.shape == (layer["out_features"], layer["in_features"]) and set(digits.ravel().tolist()) <= FIVE
            x = np.dot(x, digits.T.astype(np.float32)) * layer["weight_scale"]
            if layer["use_bias"]:
                x = x + np.array(layer["bias_pentary"], dtype=np.int32).astype(np.float32) * layer["bias_scale"]
        else:
            assert layer == {"type": "relu"}
            x = np.maximum(0, x)
    return x


def check_saved(folder: Path, epochs: int) -> dict:
    """A history of so many epochs, of which the last are at five levels and right more often than chance; a model in both formats."""
    (history_file,) = folder.glob("*_history.json")
    history, name = json.loads(history_file.read_text()), history_file.name.removesuffix("_history.json")
    assert {len(column) for column in history.values()} == {epochs} and history["levels"][-1] == "5"
    assert history["val_acc"][-1] > 0.5, "there are ten classes"
    assert json.loads((folder / f"{name}.json").read_text())["output_dim"] == 10
    assert {"config.json", "model.safetensors"} <= {path.name for path in (folder / name).iterdir()}
    return history


def test_basic_training(here):
    line = """
    --input-dim 128 \\
    --output-dim 10 \\
    --hidden-dims 64 32 \\
    --epochs 20 \\
    --batch-size 32 \\
    --learning-rate 0.01 \\
    --save-model
    """
    arguments = [sys.executable, "-m", "pipeline", "pentary", *shlex.split(line.replace("\\\n", " "))]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert "synthetic" in done.stdout, "samples that are made up are called so"
    check_saved(Path("models"), 20)
    (model,) = (path for path in Path("models").glob("*.json") if "history" not in path.name)
    document = json.loads(model.read_text())
    assert (document["input_dim"], document["output_dim"], document["hidden_dims"]) == (128, 10, [64, 32])
    x = np.random.randn(5, 128).astype(np.float32)
    from pipeline.apps.pentary import PentaryModel, PentaryTrainer

    for saved in (model, model.with_suffix("")):
        trainer = PentaryTrainer(model=PentaryModel(128, 10))
        trainer.load_model(saved)
        np.testing.assert_allclose(trainer.model.predict(x), original_reader(model, x), atol=1e-4)


def test_multimodal_training(monkeypatch, capsys):
    command(
        monkeypatch,
        """
    --multimodal \\
    --modalities text image audio \\
    --fusion-method concat \\
    --epochs 20 \\
    --batch-size 16 \\
    --learning-rate 0.01 \\
    --save-model
    """,
    )
    assert check_saved(Path("models"), 20)["val_acc"][-1] >= 0.9
    assert "synthetic speech" in capsys.readouterr().out


def test_training_with_custom_data(here, monkeypatch):
    from pipeline.apps.pentary import samples

    made = samples.digits(250, ["text", "image"], seed=3).train
    folder = here / "data"
    folder.mkdir()
    np.save(folder / "labels.npy", made.y)
    np.save(folder / "images.npy", made.x["image"])
    (folder / "text.json").write_text(json.dumps(made.x["text"]))
    command(
        monkeypatch,
        f"""
    --data-dir {folder} \\
    --multimodal \\
    --modalities text image \\
    --epochs 50 \\
    --save-model \\
    --output-dir ./trained_models
    """,
    )
    check_saved(Path("trained_models"), 50)


def test_create_a_simple_model():
    from pipeline.apps.pentary import LossFunction, PentaryModel, PentaryTrainer

    # Create model
    model = PentaryModel(
        input_dim=128,
        output_dim=10,
        hidden_dims=[64, 32],
    )

    # Create trainer
    trainer = PentaryTrainer(
        model=model,
        loss_fn=LossFunction.cross_entropy_loss,
        learning_rate=0.01,
    )

    # Prepare data
    x_train = np.random.randn(1000, 128).astype(np.float32)
    y_train = np.random.randint(0, 10, 1000)

    # Train
    trainer.train(
        train_data=(x_train, y_train),
        epochs=10,
        batch_size=32,
    )

    assert len(trainer.history["train_loss"]) == 10 and trainer.history["levels"] == ["float"] * 5 + ["5"] * 5
    assert trainer.history["train_acc"][-1] > 0.5, "random labels can be learned by heart only"
    _, matrices = model.packed()
    assert all(set(matrix.digits().unique().tolist()) <= FIVE for matrix in matrices.values())
    loss, accuracy = trainer.validate(x_train, y_train)
    assert accuracy > 0.5 and loss < 2.3, "what learned is what is at five levels"


def test_multimodal_example():
    from pipeline.apps.pentary import MultimodalFusion, PentaryModel, PentaryTrainer

    # Create multimodal fusion
    fusion = MultimodalFusion(["text", "image", "audio"], fusion_method="concat")

    # Process multimodal data
    multimodal_data = {
        "text": "Sample text input",
        "image": np.random.randn(3, 224, 224).astype(np.float32),
        "audio": np.random.randn(16000).astype(np.float32),
    }

    fused_tensor = fusion.process(multimodal_data)

    # Create model with fused input dimension
    input_dim = fused_tensor.shape[0]
    model = PentaryModel(input_dim=input_dim, output_dim=10)

    # Train with multimodal data
    trainer = PentaryTrainer(
        model=model,
        use_multimodal=True,
        modalities=["text", "image", "audio"],
    )

    assert fusion.get_output_shape() == (input_dim,) and fused_tensor.dtype == np.float32
    samples = [{**multimodal_data, "text": f"sample {i % 10}"} for i in range(20)]
    labels = np.arange(20) % 10
    history = trainer.train((samples, labels), epochs=2, batch_size=10)
    assert len(history["train_loss"]) == 2
    fused = np.stack([fusion.process(sample) for sample in samples[:3]])
    assert trainer.validate(fused, labels[:3])[0] > 0, "what is fused already is taken as well"


def test_model_quantization():
    from pipeline.apps.pentary import ModelQuantizer

    # Create quantizer
    quantizer = ModelQuantizer(quantization_method="per_tensor")

    # Quantize model weights
    model_dict = {
        "layers": [
            {
                "type": "linear",
                "weights": np.random.randn(64, 128).tolist(),
                "bias": np.random.randn(64).tolist(),
            }
        ]
    }

    quantized_model = quantizer.quantize_model_from_dict(model_dict)
    quantizer.save_quantized_model(quantized_model, "quantized_model.json")

    assert isinstance(quantized_model["layers"][0]["weight_scale"], float), "a single scale for the entire tensor"
    weights = np.array(model_dict["layers"][0]["weights"])
    x = np.random.randn(7, 128).astype(np.float32)
    exact = x @ weights.T + np.array(model_dict["layers"][0]["bias"])
    noise = original_reader(Path("quantized_model.json"), x) - exact
    assert 10 * np.log10((exact**2).mean() / (noise**2).mean()) > 8, (
        "decibels: 10.8 are the best for normal weights, the largest / 2 gives 3"
    )

    scales = ModelQuantizer("per_channel").quantize_model_from_dict(model_dict)["layers"][0]["weight_scale"]
    assert len(scales) == 64, "a separate scale per channel"


def test_convert_a_pytorch_model():
    from torch import nn

    source = nn.Sequential(
        nn.Conv2d(3, 4, 7, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(8), nn.Flatten(), nn.Linear(196, 10)
    )
    source(torch.randn(4, 3, 224, 224))
    torch.save(source, "model.pth")
    torch.serialization.add_safe_globals([nn.Sequential, *(type(layer) for layer in source)])

    from pipeline.apps.pentary import PyTorchToPentaryConverter

    # Load your PyTorch model
    pytorch_model = torch.load("model.pth")

    # Convert to pentary
    converter = PyTorchToPentaryConverter()
    converter.convert(pytorch_model, "pentary_model.json", input_shape=(1, 3, 224, 224))

    from pipeline.apps.pentary import PentaryModel, PentaryTrainer

    document = json.loads(Path("pentary_model.json").read_text())
    assert [layer["type"] for layer in document["layers"]] == ["reshape", "conv2d", "relu", "maxpool2d", "flatten", "linear"], (
        "no norm is left"
    )
    assert document["report"]["import_difference"] < 1e-4 and document["report"]["relative_difference"] < 0.6
    trainer = PentaryTrainer(model=PentaryModel(128, 10))
    trainer.load_model("pentary_model.json")
    x = torch.randn(4, 3, 224, 224)
    with torch.no_grad():
        wanted = pytorch_model.eval()(x).numpy()
    found = trainer.model.predict(x.flatten(1))
    assert found.shape == (4, 10) and np.linalg.norm(found - wanted) < 0.6 * np.linalg.norm(wanted)


def test_deployment():
    """The half of the example that is training's: the other is the processor program of `pipeline.conversion`."""
    from pipeline.apps.pentary import PentaryModel, PentaryTrainer

    PentaryTrainer(model=PentaryModel(20, 3, [8], seed=5)).save_model("trained_model.json")

    # Load trained model
    trainer = PentaryTrainer(model=PentaryModel(128, 10))
    trainer.load_model("trained_model.json")

    assert (trainer.model.input_dim, trainer.model.output_dim, trainer.model.hidden_dims) == (20, 3, [8])
    x = np.random.randn(4, 20).astype(np.float32)
    np.testing.assert_allclose(trainer.model.predict(x), PentaryModel(20, 3, [8], seed=5).predict(x), atol=1e-6)
