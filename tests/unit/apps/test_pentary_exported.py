"""The pipeline's JSON in the Pentary library: it computes what the exported classifier does, or says why not."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.apps.pentary import PentaryModel, PentaryTrainer
from pipeline.conversion import Source, weights
from pipeline.conversion import json as exports
from pipeline.errors import UserError
from tests.unit.conversion.test_processor import write
from tests.unit.models.digits import ready, samples

SMALL = {"image_channels": (2,), "audio_channels": (2,), "embedding_dim": 4, "common": 5, "hidden_dims": (6,)}
ALL = ("image", "text", "audio")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    ready(folder / "ready")
    return folder


def exported(root: Path, name: str, modalities: tuple[str, ...], **sizes: object) -> tuple[Path, torch.nn.Module]:
    """The JSON of a quantized directory, and the model that it is of."""
    directory = write(root / name, modalities, **sizes)
    module = weights.dense(directory)
    target = root / f"{name}-json"
    target.mkdir()
    exports.export(module, Source(name, directory, root / "ready"), target)
    return target / "model.json", module


@pytest.mark.parametrize(
    ("name", "modalities", "sizes"),
    [
        ("mlp", ("image",), {"image_channels": (), "hidden_dims": (12, 8)}),
        *((fusion, ALL, {**SMALL, "fusion": fusion}) for fusion in ("concat", "add", "multiply")),
    ],
)
def test_an_export_is_a_model_of_the_library(root: Path, name: str, modalities: tuple[str, ...], sizes: dict):
    path, module = exported(root, name, modalities, **sizes)
    inputs = samples(7, modalities)
    inputs[1, -1] = 0  # a modality is absent
    model = PentaryModel.load(path)
    assert (model.input_dim, model.output_dim) == (inputs.shape[1], 10) and model.hidden_dims == list(sizes["hidden_dims"])
    with torch.inference_mode():
        np.testing.assert_allclose(model.predict(inputs), module(inputs)[0][:, 0].numpy(), atol=1e-5)
    PentaryTrainer(model).save_model(path.with_name("again.json"))
    again = PentaryModel.load(path.with_name("again.json"))
    assert [layer["type"] for layer in again.network.description] == [layer["type"] for layer in model.network.description]
    np.testing.assert_allclose(again.predict(inputs), model.predict(inputs), atol=1e-4)


def test_what_is_no_chain_of_layers_is_refused(root: Path):
    path, _ = exported(root, "gated", ("image", "audio"), **{**SMALL, "fusion": "gated"})
    with pytest.raises(UserError, match=r"model\.json: the fusion 'gated' is no chain of layers; only concat, add, multiply"):
        PentaryModel.load(path)


def test_other_families_are_refused(tmp_path: Path):
    (tmp_path / "model.json").write_text(json.dumps({"architecture": {"model_type": "qwen3"}, "layers": []}))
    with pytest.raises(UserError, match="holds a model of the type 'qwen3', which has no layers here"):
        PentaryModel.load(tmp_path / "model.json")
