"""From a float model to few levels by every method: what is published is what was found, and what is asked for happens."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline import models, quantization
from pipeline.errors import UserError
from pipeline.models.base import Model
from pipeline.quantization import storage
from pipeline.schema.quantization import Quantization
from pipeline.stages.quantize import Quantized, Quantizer
from pipeline.training.checkpoints import Store
from pipeline.training.loop import Trainer
from tests.unit.models import tiny
from tests.unit.training import toy

SHORT = {"steps": 12, "batch_size": 16, "learning_rate": 0.01, "warmup_steps": 2, "evaluate_every": 6, "checkpoint_every": 5}


class Small(Quantizer):
    """On the sums of small numbers."""

    def _task(self, module: Model, settings: Any, stream: str) -> Any:
        return toy.arithmetic(**settings.model_dump())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model that has learnt a little."""
    task = toy.arithmetic(steps=150, batch_size=32, learning_rate=0.01, evaluate_every=150)
    trainer = Trainer(models.create(tiny.config(), 1), task, 1, Store(tmp_path_factory.mktemp("state")), toy.Events(), "test")
    trainer.run()
    return trainer.module


def quantized(source: Model, folder: Path, **settings: Any) -> Quantized:
    block = Quantization(ptq={"calibration": 60, "held_out": 20}, **settings)
    return Small(block, folder, 3, Store(folder), toy.Events(), "test").run(source, "here")


def loss(model: Model) -> float:
    return toy.arithmetic().evaluate(model, "validation")["loss"]


def written(result: Quantized, folder: Path, activations: str = "float") -> Model:
    config = {**result.module.config, "quantization_config": {**storage.describe(result.packed), "activations": activations}}
    models.save(storage.tensors_of(result.packed, result.others), config, folder / "model.safetensors", folder / "config.json")
    return quantization.load(folder)


METHODS: dict[str, dict[str, Any]] = {
    "mse": {},
    "ptq": {"method": "ptq"},
    "ptq and scales": {"method": "ptq", "training": SHORT, "final_steps": 10},
    "qat": {"method": "qat", "training": SHORT},
    "qat from ptq": {"method": "qat", "training": SHORT, "start": "ptq"},
    "qat by muon": {"method": "qat", "training": {**SHORT, "optimizer": "muon"}},
    "qat of everything": {
        "method": "qat", "training": SHORT, "start": "scratch", "mask_width": 2.5,
        "levels": {"default": 7, "embeddings": 15, "down_proj": 3},
        "activations": "int8", "final_steps": 5,
    },
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_what_is_written_is_what_was_found(method, source, tmp_path):
    before = copy.deepcopy(source.state_dict())
    result = quantized(source, tmp_path, **METHODS[method])
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in before.items()), "the float model stays as it is"
    activations = METHODS[method].get("activations", "float")
    loaded = written(result, tmp_path, activations)
    tokens = toy.arithmetic().batch(0).inputs
    with torch.inference_mode():
        torch.testing.assert_close(loaded(tokens)[0], result.module.eval()(tokens)[0], rtol=1e-3, atol=1e-3)
    assert bool(result.output_snr) == (method == "ptq")
    assert result.tokens == {"ptq and scales": 10, "qat of everything": 17}.get(method, 12 if "qat" in method else 0) * 16 * 6


def test_training_and_calibration_pay(source, tmp_path):
    start = loss(source)
    costs = {
        name: loss(written(quantized(source, tmp_path / name, **METHODS[name]), tmp_path / name)) - start for name in ("mse", "ptq", "qat")
    }
    assert costs["ptq"] < costs["mse"] and costs["qat"] < costs["mse"]


def test_levels_go_by_name(source, tmp_path):
    result = quantized(source, tmp_path, levels={"embeddings": 15, "mlp": 3, "layers.0.mlp.down": 9})
    levels = {name.removeprefix("model."): matrix.levels for name, matrix in result.packed.items()}
    assert levels["embed_tokens.weight"] == 15
    assert levels["layers.0.mlp.down_proj.weight"] == 9 and levels["layers.0.mlp.up_proj.weight"] == 3
    assert levels["layers.0.self_attn.q_proj.weight"] == 5


def test_levels_within_a_total_of_bits(source, tmp_path):
    result = quantized(source, tmp_path, bits=3.0)
    bits = 8 * sum(matrix.nbytes for matrix in result.packed.values()) / sum(matrix.count for matrix in result.packed.values())
    assert 2.7 < bits <= 3.0 and len({matrix.levels for matrix in result.packed.values()}) > 1
    with pytest.raises(UserError, match=r"quantization\.bits = 1\.8 is less than 3 levels take: raise it"):
        quantized(source, tmp_path, bits=1.8)


def test_in_the_final_phase_no_digit_moves(source, tmp_path):
    slow = {**SHORT, "learning_rate": 0.001}
    digits, scaled = (quantized(source, tmp_path / str(n), method="ptq", training=slow if n else None, final_steps=n) for n in (0, 10))
    assert all(torch.equal(digits.packed[name].codes, matrix.codes) for name, matrix in scaled.packed.items())
    assert any(not torch.equal(digits.packed[name].scale, matrix.scale) for name, matrix in scaled.packed.items())
    assert not torch.equal(scaled.others["model.norm.weight"], digits.others["model.norm.weight"])


def test_a_final_phase_that_makes_it_worse_is_taken_back(source, tmp_path):
    wild = {**SHORT, "learning_rate": 1.0}
    digits, kept = (quantized(source, tmp_path / str(n), method="ptq", training=wild if n else None, final_steps=n) for n in (0, 10))
    assert all(torch.equal(digits.packed[name].scale, matrix.scale) for name, matrix in kept.packed.items())
    assert all(torch.equal(digits.others[name], other) for name, other in kept.others.items())
    assert kept.tokens == 10 * 16 * 6, "what it learnt from counts all the same"


def test_a_killed_one_goes_on_to_the_same_bytes(source, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def kill(trainer: Trainer) -> dict[str, float]:
        if trainer.prefix == "quantize/final/":
            raise Killed
        return {}

    settings = {"method": "qat", "training": SHORT, "start": "ptq", "final_steps": 10}
    whole = quantized(source, tmp_path / "whole", **settings)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, "_log", kill)
        quantized(source, tmp_path / "cut", **settings)
    again = quantized(source, tmp_path / "cut", **settings)
    for name, matrix in whole.packed.items():
        assert torch.equal(matrix.codes, again.packed[name].codes) and torch.equal(matrix.scale, again.packed[name].scale)
