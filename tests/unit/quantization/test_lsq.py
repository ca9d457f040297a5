"""Learned steps: the paper's gradients, the start, what is stored, and a training that is killed and goes on."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline import models, ops, quantization
from pipeline.models.base import Model
from pipeline.quantization import grid, lsq
from pipeline.quantization.modules import PackedMatrix
from pipeline.training import state
from pipeline.training.checkpoints import Store
from pipeline.training.loop import Trainer
from tests.unit.models import tiny
from tests.unit.quantization.small_model import float_model, save
from tests.unit.training import toy

TOKENS = torch.randint(0, 11, (3, 12), generator=torch.Generator().manual_seed(4))


def attached(mask_width: float = 2.0, **changes: Any) -> Model:
    module = float_model(**changes)
    lsq.attach(module, quantization.quantize(module.quantizable(), "here"), mask_width)
    return module


def gradients(weight: Tensor, step: Tensor, mask_width: float, coming: Tensor) -> tuple[Tensor, Tensor]:
    weight, step = weight.clone().requires_grad_(), step.clone().requires_grad_()
    lsq.Quantize.apply(weight, step, mask_width, 5).backward(coming)
    return weight.grad, step.grad


def test_the_step_learns_by_the_formula_of_the_paper():
    """Equation 3 for v / s of -3, -1.2, 0.3, 1.75 and 2.6, entry by entry, and the scale of section 2.2 with N = 5 and Q_P = 2."""
    ratios, slopes = torch.tensor([-3.0, -1.2, 0.3, 1.75, 2.6]), torch.tensor([-2.0, 0.2, -0.3, 0.25, 2.0])
    for column in range(5):
        coming = torch.zeros(2, 5)
        coming[:, column] = torch.tensor([1.0, -4.0])
        _, step = gradients(torch.stack([ratios * 0.5, ratios * 0.125]), torch.tensor([0.5, 0.125]), 2.0, coming)
        torch.testing.assert_close(step, coming[:, column] * slopes[column] / 10**0.5)


@pytest.mark.parametrize(("mask_width", "passes"), [(2.0, [0, 0, 1, 1, 0, 0]), (2.5, [0, 1, 1, 1, 1, 0])])
def test_weights_learn_straight_through_inside_the_mask_and_not_outside(mask_width, passes):
    ratios = torch.tensor([[-2.75, -2.0, 0.5, 1.0, 2.25, 2.75]])
    coming = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    weight, step = gradients(ratios, torch.ones(1), mask_width, coming)
    assert torch.equal(weight, coming * torch.tensor(passes))
    slopes = torch.tensor([-2.0, *((-2.0, -0.5, 0.0, 2.0) if mask_width == 2 else (0.0, -0.5, 0.0, -0.25)), 2.0])
    torch.testing.assert_close(step, (coming * slopes).sum(1) / 12**0.5)


def test_it_starts_at_least_squared_error():
    source = float_model()
    packed = quantization.quantize(source.quantizable(), "here")
    module = attached()
    assert lsq.packed(module).keys() == packed.keys()
    for name, matrix in lsq.packed(module).items():
        assert torch.equal(matrix.scale, packed[name].scale) and torch.equal(matrix.codes, packed[name].codes), name


def test_digits_and_scales_are_those_of_the_grid_whatever_the_weights():
    weight = torch.randn(6, 40, generator=torch.Generator().manual_seed(1)) * torch.logspace(-3, 3, 6)[:, None]
    digits, scale = lsq.digits_and_scales(weight, torch.tensor([-1.0, 0.0, 1e-40, 0.3, 1.0, 1e4]), 5)
    assert set(digits.unique().tolist()) <= set(range(-2, 3))
    assert (scale > 0).all() and torch.equal(scale, grid.stored(scale))
    result = lsq.Quantize.apply(torch.zeros(1, 4), torch.zeros(1), 2.0, 5)
    assert torch.equal(result, torch.zeros(1, 4)), "a row of zeros stays one"


def trainer(folder: Path, **changes: Any) -> Trainer:
    """The sums of small numbers, from a random model on, with the float model as the teacher."""
    module, task = models.create(tiny.config(), toy.SEED), toy.arithmetic(learning_rate=0.02, **changes)
    task.learn_from(models.create(tiny.config(), toy.SEED), 0.5)
    lsq.attach(module, quantization.quantize(module.quantizable(), "here"), 2.0)
    return Trainer(module, task, toy.SEED, Store(folder), toy.Events(), "test", prefix="quantize/")


@pytest.mark.parametrize("tied", [True, False])
def test_what_is_stored_is_what_was_trained(tied, tmp_path):
    module = attached(tie_word_embeddings=tied).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01)
    before = lsq.packed(module)
    for _ in range(5):
        module(TOKENS)[0].square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    after = lsq.packed(module.eval())
    for name in ("model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight"):
        assert not torch.equal(before[name].codes, after[name].codes) and not torch.equal(before[name].scale, after[name].scale)
    plain = float_model(tie_word_embeddings=tied)
    plain.load_state_dict({name: tensor for name, tensor in module.state_dict().items() if "parametrizations" not in name}, strict=False)
    save(plain, after, tmp_path)
    with torch.inference_mode():
        torch.testing.assert_close(quantization.load(tmp_path)(TOKENS)[0], module(TOKENS)[0], atol=1e-5, rtol=1e-5)


def test_training_lowers_the_loss_that_rounding_left(tmp_path):
    run = trainer(tmp_path, steps=40, evaluate_every=40)
    before = run.task.evaluate(run.module.eval(), "validation")["loss"]
    run.run()
    assert run.task.evaluate(run.module, "validation")["loss"] < 0.8 * before
    assert all(key.startswith("quantize/") for _, values in run.events.curve for key in values)


def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def kill(self: Trainer) -> dict[str, float]:
        if self.progress.step >= 10:
            raise Killed
        return {}

    whole = trainer(tmp_path / "whole")
    whole.run()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, "_log", kill)
        trainer(tmp_path / "cut").run()
    again = trainer(tmp_path / "cut")
    again.run()
    assert not torch.equal(state.weights(again.module)["model.norm.weight"], torch.ones(16)), "norms learn too"
    expected, found = lsq.packed(whole.module), lsq.packed(again.module)
    assert all(torch.equal(expected[name].codes, found[name].codes) for name in expected)
    assert all(torch.equal(expected[name].scale, found[name].scale) for name in expected)
    pairs = zip(whole.module.state_dict().values(), again.module.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_weights_start_in_the_cells_of_the_given_digits():
    source = float_model()
    packed = {}
    for name, parameter in source.quantizable().items():
        digits, scale = grid.quantize(parameter.detach())
        packed[name] = PackedMatrix(ops.pack((digits + 1).clamp(-2, 2)), scale, parameter.shape[1])
    module = float_model()
    lsq.attach(module, packed, 2.0)
    assert all(torch.equal(matrix.codes, packed[name].codes) for name, matrix in lsq.packed(module).items())


def test_activations_are_rounded_as_the_kernel_does_it(tmp_path):
    module = float_model()
    packed = quantization.quantize(module.quantizable(), "here")
    save(module, packed, tmp_path)
    lsq.attach(module, packed, 2.0, "int8")
    rounded, exact = (quantization.load(tmp_path, activations) for activations in ("int8", "float"))
    with torch.no_grad():
        torch.testing.assert_close(module(TOKENS)[0], rounded(TOKENS)[0], atol=1e-4, rtol=1e-4)
        assert (exact(TOKENS)[0] - rounded(TOKENS)[0]).abs().max() > 1e-3
    module(TOKENS)[0].square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in module.parameters())
