"""The family `pentary`: modalities that are absent do not count, and every form of the model computes the same."""

import json
from pathlib import Path

import pytest
import torch

from pipeline import io, models, quantization
from pipeline.conversion import Source, converter, weights
from pipeline.data import features
from pipeline.quantization import storage
from tests.unit.models.digits import FEATURES, architecture, configuration, ready, samples

SMALL = {"image_channels": (2, 3), "audio_channels": (2,), "embedding_dim": 4, "common": 5, "hidden_dims": (6,)}
FUSIONS = ("concat", "add", "multiply", "gated", "attention")


@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_is_absent_has_no_influence(fusion: str):
    module = models.create(configuration(architecture(**SMALL, fusion=fusion)), seed=4).eval()
    inputs, other = samples(6), samples(6, seed=9)
    presence, parts = features.split(inputs, module.features)
    presence = presence.clone()
    presence[:, 2] = 0
    _, theirs = features.split(other, module.features)
    with torch.inference_mode():
        one, two = (module(torch.cat([*(p.flatten(1) for p in (*parts[:2], audio)), presence], 1))[0] for audio in (parts[2], theirs[2]))
        assert torch.equal(one, two)
        assert not torch.allclose(one, module(inputs)[0], atol=1e-4)


def test_training_leaves_out_features_and_inference_none():
    plain, other = (models.create(configuration(architecture(**SMALL, dropout=share)), seed=4) for share in (0.0, 0.5))
    inputs = samples(6)
    expected = plain(inputs)[0]
    assert torch.equal(other.eval()(inputs)[0], expected)
    torch.manual_seed(0)
    one, two = other.train()(inputs)[0], other(inputs)[0]
    assert not torch.allclose(one, expected) and not torch.allclose(one, two)


def test_patches_move_over_bands_and_time():
    config = configuration(architecture(**SMALL, audio_kernels="patches"), ("audio",))
    layers = config["network"]["modalities"]["audio"]["layers"]
    assert [layer["kernel_size"] for layer in layers if layer["type"] == "conv2d"] == [[3, 3]]
    assert models.create(config, seed=1)(samples(2, ("audio",)))[0].shape == (2, 1, 10)


def test_the_order_of_keys_in_config_json_does_not_matter():
    config = configuration(architecture(**SMALL))
    again = json.loads(json.dumps(config, sort_keys=True))
    assert list(again["network"]["modalities"]) != list(FEATURES)
    one, two = models.create(config, seed=1).eval(), models.create(again, seed=1).eval()
    assert one.state_dict().keys() == two.state_dict().keys()
    assert torch.equal(one(samples(3))[0], two(samples(3))[0])


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quantized directory, and the ready data beside it."""
    root = tmp_path_factory.mktemp("pentary")
    ready(root / "ready")
    config = configuration(architecture(**SMALL))
    module = models.create(config, seed=4)
    packed = quantization.quantize(module.quantizable(), "here")
    others = {name: tensor for name, tensor in module.state_dict().items() if name not in packed}
    (root / "model").mkdir()
    described = {**config, "quantization_config": storage.describe(packed)}
    files = root / "model/model.safetensors", root / "model/config.json"
    models.save(storage.tensors_of(packed, others), described, *files)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        io.write_bytes(root / "model" / name, (root / "ready" / name).read_bytes())
    return root / "model"


def test_all_matrices_are_packed_convolutions_and_embeddings_too(directory: Path):
    names = weights.quantized(directory)[1].keys()
    assert {name.split(".")[1] for name in names} == {"encoders", "head"} and len(names) == 6
    assert all(tensor.dim() == 1 for tensor in weights.quantized(directory)[2].values())


@pytest.mark.parametrize("format", ["safetensors", "onnx", "onnx_packed", "json"])
def test_exports_compute_what_the_packed_model_does_at_any_batch(directory: Path, tmp_path: Path, format: str):
    packed, chosen = quantization.load(directory, "float"), converter("pentary", format)
    chosen.export(weights.dense(directory), Source("pentary", directory, directory.parent / "ready"), tmp_path)
    loaded = chosen.load(tmp_path)
    for count in (1, 5):
        inputs = samples(count)
        inputs[0, -2] = 0
        with torch.inference_mode():
            assert torch.allclose(loaded(inputs)[0], packed(inputs)[0], atol=1e-4)
