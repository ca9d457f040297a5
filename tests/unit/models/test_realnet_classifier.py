"""RealNet in pulse mode as a classifier: every way to run it computes the same, also a step a call in an export."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from pipeline import config as configuration
from pipeline import io, models, quantization
from pipeline.conversion import Source, converter, weights
from pipeline.data import features
from pipeline.data.digits import CLASSES
from pipeline.errors import UserError
from pipeline.models.realnet.network import RealNet
from pipeline.quantization import storage
from pipeline.schema.families import RealNet as Block
from pipeline.schema.training import Training
from pipeline.training import tasks
from tests.unit.models.digits import FEATURES, ready, samples
from tests.workspace import PROJECT

IMAGE = ("image",)


def config(**sizes: Any) -> dict[str, Any]:
    block = Block.model_validate({"num_neurons": 80, "think_steps": 3, "least_steps": 2, "activation": "gelu", **sizes})
    ours = {"task": "classification", "recurrent": True, "training_key": "0", "features": [FEATURES["image"]], "classes": list(CLASSES)}
    return dict(models.family("realnet").configuration(block, 300, None, ours))


def classifier(**sizes: Any) -> Any:
    module = models.create(config(**sizes), seed=4).eval()
    draw = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.1)
    return module


def thought(module: Any, inputs: torch.Tensor, steps: int) -> list[torch.Tensor]:
    """Logits after each step, one call each: an image, then silence."""
    state, found = module.initial_state(len(inputs)), []
    for step in range(steps):
        logits, state = module.step(inputs if step == 0 else torch.zeros_like(inputs), state)
        found.append(logits)
    return found


def test_whole_step_by_step_and_by_the_library_it_is_one_network() -> None:
    module, inputs = classifier(), samples(5, IMAGE)
    logits, state = module(inputs)
    module.synapses.register_forward_pre_hook(lambda *_: None)
    torch.testing.assert_close(module(inputs)[0], logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(thought(module, inputs, 4)[-1], logits, atol=1e-4, rtol=1e-4)
    own, theirs = module.state_dict(), RealNet(80, range(64), range(70, 80), activation="gelu")
    names = {"W": "synapses.weight", "b": "synapses.bias", "gain": "gain", "input_scale": "input_scale", "output_scale": "output_scale"}
    theirs.load_state_dict({name: own[ours].T if name == "W" else own[ours] for name, ours in names.items()})
    image = module.feature.normal(inputs[:, :64])
    states, final = theirs(image, steps=4)
    torch.testing.assert_close(theirs.output(states)[:, -1:], logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(final, state.neurons, atol=1e-4, rtol=1e-4)


def test_training_answers_after_each_step_from_the_least_on_and_the_loss_is_their_mean(tmp_path: Path) -> None:
    module, inputs = classifier(), samples(5, IMAGE)
    one_by_one = torch.cat(thought(module, inputs, 4), 1)
    answers, _ = module.train()(inputs)
    assert answers.shape == (5, 3, 10)
    torch.testing.assert_close(answers, one_by_one[:, 1:], atol=1e-4, rtol=1e-4)
    ready(tmp_path / "ready")
    dataset = io.read_json(tmp_path / "ready/dataset.json")
    settings = Training.model_validate({"steps": 5, "warmup_steps": 1})
    task = tasks.of(tmp_path / "ready", {**dataset, "features": dataset["features"][:1]}, settings, 1, 1, True)
    targets = torch.arange(5)[:, None]
    expected = torch.stack([F.cross_entropy(answers[:, i], targets[:, 0], reduction="sum") for i in range(3)]).mean()
    torch.testing.assert_close(task.loss(inputs, answers, targets), expected)
    task.learn_from(classifier(), 1.0)
    assert task.loss(inputs, module.eval()(inputs)[0].expand(-1, 3, -1), targets).abs() < 1e-4


def test_an_absent_image_is_silence() -> None:
    module, inputs = classifier(), samples(3, IMAGE)
    inputs[0, -1] = 0
    logits, _ = module(inputs)
    assert torch.equal(logits[0], module(features.only(inputs, [module.feature], ()))[0][0])
    assert not torch.allclose(logits[0], logits[1], atol=1e-3)


def test_too_few_neurons_are_refused() -> None:
    with pytest.raises(UserError, match="num_neurons = 70 is too few for 64 pixels and 10 classes, a neuron each: set it to at least 74"):
        config(num_neurons=70)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quantized directory, and the ready data beside it."""
    root, module = tmp_path_factory.mktemp("classifier"), classifier()
    ready(root / "ready")
    packed = quantization.quantize(module.quantizable(), "here")
    assert packed.keys() == {"synapses.weight"}
    others = {name: tensor for name, tensor in module.state_dict().items() if name not in packed}
    described = {**module.config, "quantization_config": storage.describe(packed)}
    (root / "model").mkdir()
    models.save(storage.tensors_of(packed, others), described, root / "model/model.safetensors", root / "model/config.json")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        io.write_bytes(root / "model" / name, (root / "ready" / name).read_bytes())
    return root / "model"


def exported(directory: Path, format: str, target: Path) -> Any:
    chosen = converter("realnet", format)
    chosen.export(weights.dense(directory), Source("digits", directory, directory.parent / "ready"), target)
    return chosen.load(target)


@pytest.mark.parametrize("format", ["safetensors", "onnx", "onnx_packed", "torch_export", "json"])
def test_exports_compute_what_the_packed_model_does_at_any_batch(directory: Path, tmp_path: Path, format: str) -> None:
    packed, loaded = quantization.load(directory, "float"), exported(directory, format, tmp_path)
    with torch.inference_mode():
        for count in (1, 5):
            inputs = samples(count, IMAGE)
            expected, after = packed(inputs)
            found, state = loaded(inputs)
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(
                loaded(torch.zeros_like(inputs), state)[0], packed(torch.zeros_like(inputs), after)[0], atol=1e-4, rtol=0
            )


def test_onnx_takes_a_step_a_call_as_many_as_its_user_likes(directory: Path, tmp_path: Path) -> None:
    exported(directory, "onnx", tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    inputs, state = samples(2, IMAGE).numpy(), np.zeros((2, 80), np.float32)
    with torch.inference_mode():
        expected = thought(quantization.load(directory, "float"), torch.from_numpy(inputs), 7)
    for step in range(7):
        logits, state = session.run(["logits", "neurons"], {"inputs": inputs if step == 0 else 0 * inputs, "past_neurons": state})
        assert np.allclose(logits, expected[step].numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"modalities": ["image", "text"]}, "a realnet model classifies by image, not text: change images.modalities"),
        ({"family": "gru", "architecture": {}}, "a gru model reads tokens, and 'images' is digits: choose one of realnet, pentary"),
        ({"input_neurons": 64}, "architecture.input_neurons follows from the pixels and classes of 'images': leave it out"),
        ({"least_steps": 16}, "least_steps = 16 is more than all: think_steps + 1 is 15"),
        ({"kind": "arithmetic"}, "architecture.least_steps is for images, and 'images' is arithmetic: leave it out"),
        (
            {"kind": "arithmetic", "family": "pentary", "architecture": {}},
            "a pentary model needs a data set of the kind digits, and 'images'",
        ),
    ],
)
def test_what_does_not_fit_the_data_is_a_sentence(keys: dict[str, Any], sentence: str) -> None:
    import yaml

    parameters = yaml.safe_load((PROJECT / "presets/realnet-digits.yaml").read_text())
    dataset, model = parameters["datasets"]["images"], parameters["models"]["realnet-digits"]
    if keys.get("kind") == "arithmetic":
        dataset.clear()
        dataset |= {"kind": "arithmetic", "maximum": 12}
    dataset |= {key: value for key, value in keys.items() if key == "modalities"}
    model |= {key: value for key, value in keys.items() if key in ("family", "architecture")} | {"formats": []}
    model["architecture"] |= {key: value for key, value in keys.items() if key.endswith(("neurons", "_steps"))}
    with pytest.raises(UserError) as refused:
        configuration.parse(parameters, "params.yaml")
    assert sentence in str(refused.value)
