"""Models as JSON and as packed directories: what is read computes what was written, and what is damaged is named."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.apps.pentary import ModelQuantizer, MultimodalFusion, PentaryModel, PentaryTrainer
from pipeline.apps.pentary import directory as files
from pipeline.errors import UserError

LAYERS = [
    {"type": "reshape", "shape": [1, 4, 4]},
    {"type": "conv2d", "name": "a", "in_channels": 1, "out_channels": 2, "kernel_size": 3, "padding": 1},
    {"type": "relu", "name": "b"},
    {"type": "add", "name": "c", "inputs": ["a", "b"]},
    {"type": "flatten"},
    {"type": "linear", "in_features": 32, "out_features": 3},
]


def model(layers=None, **options) -> PentaryModel:
    return PentaryModel(16, 3, [8], layers=layers, **options)


def x(rows: int = 5) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((rows, 16)).astype(np.float32)


def loaded(path: Path) -> PentaryTrainer:
    trainer = PentaryTrainer(PentaryModel(2, 2))
    trainer.load_model(path)
    return trainer


@pytest.mark.parametrize("layers", [None, LAYERS], ids=["mlp", "graph"])
@pytest.mark.parametrize("name", ["model.json", "model"])
def test_what_is_read_is_what_was_written(tmp_path, layers, name):
    made = model(layers)
    with torch.no_grad():
        for layer in made.network.layers:
            if getattr(layer, "bias", None) is not None:
                layer.bias.uniform_(-1, 1)
    PentaryTrainer(made).save_model(tmp_path / name)
    again = loaded(tmp_path / name)
    np.testing.assert_allclose(again.model.predict(x()), made.predict(x()), atol=2e-6)
    assert again.model.network.description == made.network.description
    again.save_model(tmp_path / f"again{Path(name).suffix}")
    both = [path / "model.safetensors" if path.is_dir() else path for path in (tmp_path / name, tmp_path / f"again{Path(name).suffix}")]
    if both[0].suffix == ".safetensors":
        assert both[0].read_bytes() == both[1].read_bytes(), "reading and writing changes no digit"
    again.train((x(40), np.arange(40) % 3), epochs=1, verbose=False)
    assert again.model.at_five_levels, "a model that was read learns on"


def test_biases_at_five_levels_are_written_as_digits(tmp_path):
    made = model(bias_levels=5)
    with torch.no_grad():
        made.network.layers[0].parametrizations.bias.original.copy_(torch.linspace(-0.02, 0.02, 8))
    PentaryTrainer(made).save_model(tmp_path / "model.json")
    layer = json.loads((tmp_path / "model.json").read_text())["layers"][0]
    assert set(layer["bias_pentary"]) == {-2, -1, 0, 1, 2} and isinstance(layer["bias_scale"], float)
    np.testing.assert_allclose(loaded(tmp_path / "model.json").model.predict(x()), made.predict(x()), atol=1e-6)


def test_a_document_of_the_original_tool_is_computed_exactly(tmp_path):
    """One scale a tensor, of any value, and a bias at five levels."""
    digits = np.random.default_rng(2).integers(-2, 3, (3, 16))
    layer = {"type": "linear", "in_features": 16, "out_features": 3, "use_bias": True, "weight_pentary": digits.tolist()}
    layer |= {"bias_pentary": [1, 0, -2], "weight_scale": 0.0533, "bias_scale": 0.0111}
    document = {"input_dim": 16, "output_dim": 3, "hidden_dims": [], "layers": [layer]}
    (tmp_path / "model.json").write_text(json.dumps(document, indent=2))
    wanted = x() @ digits.T * 0.0533 + np.array([1, 0, -2]) * 0.0111
    np.testing.assert_allclose(loaded(tmp_path / "model.json").model.predict(x()), wanted, atol=1e-5)


def test_a_fusion_is_saved_with_its_tokenizer_and_embeddings(tmp_path):
    texts = ["red apple", "green pear", "blue plum"] * 10
    fusion = MultimodalFusion(["text"], "add", common=6, seed=2)
    trainer = PentaryTrainer(PentaryModel(6, 3, [8]), fusion=fusion)
    trainer.train(({"text": texts}, np.arange(30) % 3), epochs=4, batch_size=5, verbose=False)
    assert fusion.processors["text"].tokenizer.vocab_size > 257, "it has learned words"
    for name in ("model.json", "model"):
        trainer.save_model(tmp_path / name)
        again = loaded(tmp_path / name)
        for text in ("green apple", "something else"):
            np.testing.assert_allclose(again.fusion.process({"text": text}), fusion.process({"text": text}), atol=1e-6)
        assert again.validate({"text": texts}, np.arange(30) % 3) == pytest.approx(
            trainer.validate({"text": texts}, np.arange(30) % 3), abs=1e-5
        )


DAMAGES = {
    "no layers": (lambda d: d.pop("layers"), "is not a Pentary model"),
    "no size": (lambda d: d.pop("input_dim"), "has no key 'input_dim'"),
    "a digit that is none": (
        lambda d: d["layers"][0]["weight_pentary"][0].__setitem__(0, 3),
        "layer '0' of type 'linear' is damaged.*-2, -1, 0",
    ),
    "a row too short": (lambda d: d["layers"][0]["weight_pentary"][0].pop(), "layer '0' of type 'linear' is damaged"),
    "a type that is none": (lambda d: d["layers"][1].update(type="gelu"), "layer type 'gelu' is none of"),
    "sizes without weights": (lambda d: d["layers"][0].update(in_features=10**12), "layer '0' of type 'linear' is damaged"),
    "a scale that is none": (lambda d: d["layers"][0].update(weight_scale=[1.0]), "weight_scale is not"),
    "an input that it does not take": (lambda d: d.update(input_dim=5), "take no rows of input_dim = 5"),
    "an input that is no number": (lambda d: d.update(input_dim="x"), "take no rows of input_dim = 'x'"),
    "an output that it does not make": (lambda d: d.update(output_dim=5), "not output_dim = 5"),
    "text for a layer": (lambda d: d["layers"].append("relu"), "is no layer"),
    "a scale that is infinite": (lambda d: d["layers"][0].update(weight_scale=1e39), "weight_scale is not"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_document_is_named(tmp_path, damage):
    change, says = DAMAGES[damage]
    path = tmp_path / "model.json"
    PentaryTrainer(model()).save_model(path)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match=says) as error:
        files.load(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"layers": 3}', "\xff"])
def test_what_is_no_document_is_named(tmp_path, text):
    (tmp_path / "model.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"model\.json"):
        files.load(tmp_path / "model.json")
    with pytest.raises(UserError, match=r"other\.json is missing"):
        files.load(tmp_path / "other.json")


def test_a_damaged_directory_is_named(tmp_path):
    PentaryTrainer(model()).save_model(tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    text = config.read_text()
    for old, new, says in (
        ('"out_features": 8', '"out_features": 9', "network.layers.0"),
        ('"out_features": 8', '"out_features": 800000000', "describes no model that can be built"),
        ('"type": "relu"', '"type": "gelu"', "describes no model that can be built"),
    ):
        config.write_text(text.replace(old, new))
        with pytest.raises(UserError, match=says):
            files.load(tmp_path / "model")
    with pytest.raises(UserError, match="missing"):
        files.load(tmp_path / "nowhere")


QUANTIZER = {
    "no layers": ({}, "no dictionary with a list `layers`"),
    "no type": ({"layers": [{"weights": [[1.0]]}]}, "layer 0 has no `type`"),
    "no weights": ({"layers": [{"type": "linear"}]}, "layer 0 of type 'linear' has no `weights`"),
    "a vector": ({"layers": [{"type": "linear", "weights": [1.0, 2.0]}]}, r"layer 0: weights of type 'linear' are \[2\], not \[O, I\]"),
    "not finite": ({"layers": [{"type": "linear", "weights": [[float("nan")]]}]}, "not finite"),
    "a bias": ({"layers": [{"type": "linear", "weights": [[1.0]], "bias": [1.0, 2.0]}]}, "bias has not one number for each of 1"),
    "ragged": ({"layers": [{"type": "linear", "weights": [[1.0], [1.0, 2.0]]}]}, "weights is no table of numbers"),
}


@pytest.mark.parametrize("mistake", QUANTIZER)
def test_weights_that_cannot_be_quantized_are_named(mistake):
    model_dict, says = QUANTIZER[mistake]
    with pytest.raises(UserError, match=says):
        ModelQuantizer().quantize_model_from_dict(model_dict)


def test_methods_of_quantization():
    weights = np.random.default_rng(0).standard_normal((4, 3, 2, 2)) * np.array([1, 10, 100, 1000]).reshape(4, 1, 1, 1)
    model_dict = {"layers": [{"type": "conv2d", "weights": weights.tolist(), "stride": 2}, {"type": "relu"}]}
    errors = {}
    for method in ("per_tensor", "per_channel"):
        layer = ModelQuantizer(method).quantize_model_from_dict(model_dict)["layers"][0]
        assert np.shape(layer["weight_pentary"]) == weights.shape and layer["stride"] == 2
        scale = np.reshape(layer["weight_scale"], (-1, 1, 1, 1))
        errors[method] = np.abs(layer["weight_pentary"] * scale - weights)[0].mean()
    assert errors["per_channel"] < errors["per_tensor"] / 2, "the smallest channel is lost in the largest one's scale"
    with pytest.raises(UserError, match="quantization_method 'kl' is none of per_tensor, per_channel"):
        ModelQuantizer("kl")


def test_a_dictionary_that_begins_with_a_convolution_needs_the_shape_of_its_images(tmp_path):
    kernels, weights = np.ones((2, 1, 3, 3)).tolist(), np.ones((3, 8)).tolist()
    layers = [{"type": "conv2d", "weights": kernels}, {"type": "flatten"}, {"type": "linear", "weights": weights}]
    made = ModelQuantizer()
    made.save_quantized_model(made.quantize_model_from_dict({"layers": layers}), tmp_path / "open.json")
    with pytest.raises(UserError, match=r"open\.json begins with a convolution .* give the dictionary .* an `input_shape`"):
        PentaryModel.load(tmp_path / "open.json")
    made.save_quantized_model(made.quantize_model_from_dict({"input_shape": [1, 1, 4, 4], "layers": layers}), tmp_path / "model.json")
    assert loaded(tmp_path / "model.json").model.predict(x()).shape == (5, 3)
    with pytest.raises(UserError, match=r"input_shape = 4 is no shape of a batch"):
        made.quantize_model_from_dict({"input_shape": 4, "layers": layers})


def test_other_devices_are_refused():
    with pytest.raises(UserError, match="device 'cuda' is not known: it trains on cpu; for cuda train a model of the family pentary"):
        PentaryTrainer(PentaryModel(2, 2), device="cuda")
