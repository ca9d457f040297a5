"""A brain of sparse connections through all stages: it learns, is quantized by training, and every export computes what it computes."""

import itertools
import json
import shutil

import pytest
import torch
import yaml

from pipeline import io, models, quantization
from pipeline.config import load
from pipeline.errors import UserError
from pipeline.models.neurogen import Brain
from pipeline.models.sparse import FanIn
from pipeline.quantization.modules import PackedFanIn
from tests.parity import small_project

SIZES = {"thalamus": 32, "wernicke": 64, "hippocampus": 32, "prefrontal": 64, "basal_ganglia": 16, "broca": 64, "key_size": 16}
TRAINING = {"steps": 40, "batch_size": 16, "carry_state": True, "learning_rate": 0.016, "betas": [0.9, 0.98], "warmup_steps": 4}
BRAIN = {
    "family": "neurogen",
    "dataset": "text",
    "architecture": SIZES | {"fan_in": 32, "context": 8},
    "training": TRAINING | {"evaluate_every": 20, "checkpoint_every": 10},
    "quantization": {"method": "qat", "training": TRAINING | {"steps": 10, "learning_rate": 0.004, "evaluate_every": 10}},
    "formats": small_project.formats("neurogen"),
    "evaluation": {"new_tokens": 10},
}

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("parity")]


def parameters(**changes) -> str:
    return yaml.safe_dump({**small_project.PARAMETERS, "models": {"brain": {**BRAIN, **changes}}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sparse")
    (folder / "text.txt").write_text(small_project.TEXT, encoding="utf-8")
    (folder / "params.yaml").write_text(parameters())
    for name in ("download", "tokenize"):
        small_project.stage(folder, name, "text")
    for name in ("train", "quantize", "convert", "evaluate"):
        small_project.stage(folder, name, "brain")
    return folder


def test_it_learns_more_than_how_often_characters_come(folder):
    figures = io.read_json(folder / "metrics/brain/evaluate.json")
    assert figures["float"]["loss"] < figures["baselines"]["unigram"]["loss"] - 0.1
    assert figures["quantized"]["loss"] < figures["baselines"]["unigram"]["loss"]


def test_every_export_computes_what_it_computes(folder):
    assert set(io.read_json(folder / "metrics/brain/convert.json")) == set(BRAIN["formats"])
    figures = io.read_json(folder / "metrics/brain/evaluate.json")
    for name in BRAIN["formats"]:
        assert figures[name]["loss"] == pytest.approx(figures["quantized"]["loss"], abs=1e-3), name


def test_files_hold_the_synapses_that_there_are(folder):
    tensors = models.load(folder / "models/brain").state_dict()
    assert tensors["wiring.prefrontal_broca.weight"].shape == (64, 32) and tensors["wiring.basal_ganglia_broca.weight"].shape == (64, 16)
    assert not any("sources" in name for name in tensors)
    document = json.loads((folder / "exports/brain/json/model.json").read_text())
    layer = next(layer for layer in document["layers"] if layer["name"] == "wiring.wernicke_hippocampus.weight")
    assert (layer["in_features"], layer["out_features"]) == (32, 16 + 32) and document["architecture"]["fan_in"] == 32


def test_packed_connections_compute_what_their_weights_stand_for(folder):
    packed, floats = quantization.load(folder / "quantized/brain"), models.load(folder / "exports/brain/safetensors")
    x = torch.rand(5, 64)
    for name in ("prefrontal_broca", "wernicke_hippocampus"):
        assert isinstance(packed.wiring[name], PackedFanIn) and isinstance(floats.wiring[name], FanIn)
        assert torch.equal(packed.wiring[name](x), floats.wiring[name](x))


def test_a_training_that_broke_off_ends_as_if_it_had_not(folder, tmp_path):
    small_project.copy(folder, tmp_path)
    shutil.rmtree(tmp_path / "models")
    forward, calls = Brain.forward, itertools.count(1)

    def breaks(module, tokens, state=None):
        if module.training and next(calls) > 25:
            raise RuntimeError("the power went out")
        return forward(module, tokens, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Brain, "forward", breaks)
        with pytest.raises(RuntimeError, match="the power went out"):
            small_project.stage(tmp_path, "train", "brain")
    before = next(calls)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Brain, "forward", lambda *arguments: (next(calls) if arguments[0].training else None, forward(*arguments))[1])
        small_project.stage(tmp_path, "train", "brain")
    assert next(calls) - before - 1 == TRAINING["steps"] - 20
    weights = "models/brain/model.safetensors"
    assert (tmp_path / weights).read_bytes() == (folder / weights).read_bytes()


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"quantization": {"method": "ptq"}}, "each 16 rows have inputs of their own: set method to mse"),
        ({"quantization": {**BRAIN["quantization"], "start": "ptq"}}, "or to qat from mse or scratch"),
        ({"quantization": {**BRAIN["quantization"], "activations": "int8"}}, "int8 has no kernel for connections with architecture.fan_in"),
        ({"architecture": {"fan_in": 40}}, "multiple of 16"),
        ({"architecture": {"fan_in": 32, "key_size": 20}}, "key_size = 20 must be a multiple of 16 with fan_in"),
    ],
)
def test_what_sparse_connections_cannot_is_refused(tmp_path, changes, sentence):
    (tmp_path / "params.yaml").write_text(parameters(**changes))
    with pytest.raises(UserError, match=sentence):
        load(tmp_path / "params.yaml")
