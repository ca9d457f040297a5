"""Every example of `calcgpt_training_library.md`, with no more changed than the import line, and what it claims.

The examples' own sizes and epochs are used. What keeps them short is the data set, sums and differences of numbers up to 3; the one
example that leaves three trainings to the default of 50 epochs gets another default.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from pipeline import models
from tests.workspace import PROJECT

KEYS = {"training_loss", "eval_loss", "training_time", "vocab_size", "dataset_size", "test_results", "model_params"}
DIRECTORY = {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "train.json", "train.csv"}


@pytest.fixture(autouse=True)
def dataset_path(tmp_path, monkeypatch) -> Path:
    """The document's data file, in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = Path("datasets/ds-calcgpt.txt")
    path.parent.mkdir()
    return write_equations(path, 3)


def write_equations(path: Path, largest: int) -> Path:
    """All sums of two numbers up to `largest`, and their differences that are not negative."""
    sums = [f"{a}+{b}={a + b}\n" for a in range(largest + 1) for b in range(largest + 1)]
    path.write_text("".join([*sums, *(f"{a}-{b}={a - b}\n" for a in range(largest + 1) for b in range(a + 1))]))
    return path


@pytest.fixture
def output_dir() -> Path:
    return Path("models/my_model")


def default_epochs(monkeypatch, epochs):
    from pipeline.apps.calcgpt import TrainingConfig

    assert TrainingConfig().epochs == 50
    monkeypatch.setattr(TrainingConfig.__init__, "__defaults__", (epochs, *TrainingConfig.__init__.__defaults__[1:]))


def curve(directory: Path) -> list[float]:
    lines = (directory / "train.csv").read_text().splitlines()
    column = lines[0].split(",").index("train_loss")
    return [float(line.split(",")[column]) for line in lines[1:]]


def check_results(results, directory):
    """Keys, files, and that they agree with each other."""
    assert results.keys() >= KEYS
    assert {path.name for path in Path(directory).iterdir()} >= DIRECTORY
    module = models.load(Path(directory))
    assert results["model_params"] == module.parameter_count()
    assert results["vocab_size"] == module.config["vocab_size"]
    assert results["dataset_size"] == 26
    assert [test["problem"] for test in results["test_results"]] == ["1+1=", "2+3="], "5+0= is outside 0..3, which is what it has learned"
    assert results["training_time"] > 0 and results["eval_loss"] > 0
    losses = curve(Path(directory))
    assert losses[-1] < losses[0], "the loss falls"


def test_core_components():
    from pipeline.apps.calcgpt import TrainingConfig

    config = TrainingConfig(
        epochs=50,
        batch_size=8,
        learning_rate=1e-3,
        embedding_dim=128,
        num_layers=6,
        num_heads=8,
        feedforward_dim=512,
        # ... more parameters
    )

    from pathlib import Path

    from pipeline.apps.calcgpt import CalcGPTTrainer

    trainer = CalcGPTTrainer(
        config=config,
        dataset_path=Path("datasets/ds-calcgpt.txt"),
        output_dir=Path("models/my_model"),
        verbose=True,
    )

    results = trainer.train()

    check_results(results, "models/my_model")
    assert curve(Path("models/my_model"))[-1] < 0.2, "fifty epochs are enough to learn so few equations by heart"
    kept = json.loads(Path("models/my_model/train.json").read_text())
    assert kept["settings"]["epochs"] == 50 and kept["train"]["loss"] == results["training_loss"]


def test_programmatic_usage(capsys):
    from pathlib import Path

    from pipeline.apps.calcgpt import CalcGPTTrainer, TrainingConfig

    # Configure training
    config = TrainingConfig(
        epochs=10,
        batch_size=4,
        embedding_dim=64,
        num_layers=3,
        num_heads=4,
    )

    # Initialize trainer
    trainer = CalcGPTTrainer(
        config=config,
        dataset_path=Path("datasets/ds-calcgpt.txt"),
        output_dir=Path("models/my_model"),
        verbose=True,
    )

    # Train model
    results = trainer.train()

    # Access results
    print(f"Final loss: {results['training_loss']:.4f}")
    print(f"Model parameters: {results['model_params']:,}")

    check_results(results, "models/my_model")
    assert capsys.readouterr().out.splitlines()[-1] == f"Model parameters: {results['model_params']:,}"


def test_command_line(dataset_path):
    """`python calcgpt_train.py -e 50 -b 8 --embedding-dim 128` is a command of `python -m pipeline` here."""
    write_equations(dataset_path, 2)
    command = [sys.executable, "-m", "pipeline", "calcgpt-train", "-e", "50", "-b", "8", "--embedding-dim", "128"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("1+1=") and done.stdout.splitlines()[-1].endswith("parameters in models/calcgpt")
    module = models.load(Path("models/calcgpt"))
    assert (module.config["hidden_size"], module.config["num_hidden_layers"], module.config["num_attention_heads"]) == (128, 6, 8)
    assert curve(Path("models/calcgpt"))[-1] < 0.2


def test_notebook_usage(dataset_path, output_dir, capsys):
    # Perfect for experimentation in notebooks
    from pipeline.apps.calcgpt import CalcGPTTrainer, TrainingConfig

    config = TrainingConfig(epochs=5, batch_size=2)  # Quick training
    trainer = CalcGPTTrainer(config, dataset_path, output_dir, verbose=False)
    results = trainer.train()

    # Analyze results
    import matplotlib.pyplot as plt
    # ... visualization code

    plt.close(plt.figure())
    check_results(results, output_dir)
    assert capsys.readouterr() == ("", ""), "verbose=False says nothing"


def test_custom_training_loop(dataset_path):
    from pipeline.apps.calcgpt import TrainingConfig

    maxlen, training_config = 8, TrainingConfig(embedding_dim=32, num_layers=2, num_heads=4)

    from pipeline.apps.calcgpt import OptimizedDataset, create_model_config, create_vocab, load_dataset

    # Use individual components
    examples = load_dataset(dataset_path)
    vocab, id2char = create_vocab(examples)
    dataset = OptimizedDataset(examples, maxlen, vocab)
    config = create_model_config(len(vocab), maxlen, training_config)

    # Custom training logic here...
    module = models.create(config, training_config.seed)
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    losses = []
    for _ in range(8):
        for batch in torch.utils.data.DataLoader(dataset, batch_size=10):
            logits, _ = module(batch["input_ids"][:, :-1])
            loss = F.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])
    assert len(dataset) == len(examples) == 26
    assert "".join(id2char[int(id)] for id in dataset[6]["input_ids"]).startswith("1+2=3<|endoftext|>")


def test_hyperparameter_search(dataset_path, output_dir):
    write_equations(dataset_path, 2)
    from pipeline.apps.calcgpt import CalcGPTTrainer, TrainingConfig

    best_config = None
    best_loss = float("inf")

    for lr in [1e-4, 5e-4, 1e-3]:
        for layers in [3, 6, 9]:
            config = TrainingConfig(learning_rate=lr, num_layers=layers, epochs=10)
            trainer = CalcGPTTrainer(config, dataset_path, output_dir, verbose=False)
            results = trainer.train()

            if results["training_loss"] < best_loss:
                best_loss = results["training_loss"]
                best_config = config

    assert best_config.learning_rate > 1e-4, "the slowest rate is not the best for ten epochs"
    assert 0 < best_loss < 1.5


def test_model_evaluation_pipeline(dataset_path, monkeypatch, capsys):
    default_epochs(monkeypatch, 2)
    from pipeline.apps.calcgpt import CalcGPTTrainer, TrainingConfig

    # Train multiple models with different configurations
    configs = [
        TrainingConfig(embedding_dim=64, num_layers=3),
        TrainingConfig(embedding_dim=128, num_layers=6),
        TrainingConfig(embedding_dim=256, num_layers=9),
    ]

    results = []
    for i, config in enumerate(configs):
        trainer = CalcGPTTrainer(config, dataset_path, f"models/variant_{i}")
        result = trainer.train()
        results.append((config, result))

    # Compare results
    for config, result in results:
        print(f"Model {config.embedding_dim}d/{config.num_layers}L: Loss {result['training_loss']:.4f}, Params {result['model_params']:,}")

    for i, (_, result) in enumerate(results):
        check_results(result, f"models/variant_{i}")
    sizes = [result["model_params"] for _, result in results]
    assert sizes == sorted(sizes) and sizes[0] < sizes[2] / 10
    assert capsys.readouterr().out.splitlines()[-3].startswith("Model 64d/3L: Loss ")
