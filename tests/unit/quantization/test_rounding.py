"""The steps of rounding one matrix: each does what it says, and none makes the error larger."""

import itertools

import pytest
import torch

from pipeline.quantization import grid
from pipeline.quantization.ptq import rounding
from pipeline.schema.quantization import Ptq

STEPS = ("search", "feedback", "order", "descent", "refit")
OFF = dict.fromkeys(STEPS, False)


def problem(rows=12, columns=40, seed=0):
    """Weights, and the second moment of inputs that are correlated and of unlike sizes."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    mix = torch.randn(columns, columns, generator=generator, dtype=torch.float64) / columns**0.5 + torch.eye(columns, dtype=torch.float64)
    inputs = torch.randn(4 * columns, columns, generator=generator, dtype=torch.float64) @ mix * torch.logspace(-1, 1, columns)
    return weight, inputs.T @ inputs / len(inputs)


def error(weight, digits, scale, moment):
    """e H e^T of each row."""
    e = weight - digits.double() * scale.double()[:, None]
    return ((e @ moment) * e).sum(1)


def solved(weight, moment, levels=5, **switches):
    return error(weight, *rounding.solve(weight, moment, levels, Ptq(**{**OFF, **switches})), moment).sum().item()


def test_no_steps_is_least_squared_error():
    weight, moment = problem()
    digits, scale = rounding.solve(weight, moment, 5, Ptq(**OFF))
    expected, expected_scale = grid.quantize(weight)
    assert torch.equal(digits, expected) and torch.equal(scale, expected_scale)


@pytest.mark.parametrize("levels", [3, 4, 5, 15, 256])
def test_every_step_lowers_the_error(levels):
    weight, moment = problem()
    so_far, errors = {}, [solved(weight, moment, levels)]
    for step in ("search", "feedback", "order", "descent", "refit"):
        so_far[step] = True
        errors.append(solved(weight, moment, levels, **so_far))
    assert errors[1] <= errors[0] * 1.05, "the weights of the search are H's diagonal alone"
    assert errors[2] < errors[1] and errors[3] < 0.8 * errors[1] and errors[5] < errors[3]
    assert solved(weight, moment, levels, search=True, descent=True) < errors[1]
    assert solved(weight, moment, levels, search=True, refit=True) <= errors[1] * 1.0001


def test_without_correlations_feedback_is_rounding_to_the_nearest():
    weight, moment = problem()
    scale, diagonal = grid.stored(grid.best_scale(weight)).double(), moment.diagonal().diag()
    for by_size in (False, True):
        assert torch.equal(rounding.feedback(weight, scale, diagonal, 5, by_size), grid.nearest(weight, scale).double())


def test_blocks_change_nothing(monkeypatch):
    weight, moment = problem()
    scale = grid.stored(grid.best_scale(weight)).double()
    start = grid.nearest(weight, scale).double()
    whole = rounding.feedback(weight, scale, moment, 5, True), rounding.descend(weight, start, scale, moment, 5)
    monkeypatch.setattr(rounding, "BLOCK", 7)
    assert torch.equal(rounding.feedback(weight, scale, moment, 5, True), whole[0])
    assert torch.equal(rounding.descend(weight, start, scale, moment, 5), whole[1])


def test_descent_ends_where_no_digit_alone_can_be_bettered(monkeypatch):
    weight, moment = problem(rows=4, columns=10)
    scale = grid.stored(grid.best_scale(weight)).double()
    monkeypatch.setattr(rounding, "SWEEPS", 20)
    found = rounding.descend(weight, grid.nearest(weight, scale).double(), scale, moment, 5)
    least = error(weight, found, scale, moment)
    for column, digit in itertools.product(range(10), range(-2, 3)):
        other = found.clone()
        other[:, column] = digit
        assert (error(weight, other, scale, moment) >= least - 1e-9).all()


def test_refit_is_the_minimum():
    weight, moment = problem()
    digits = grid.nearest(weight, grid.best_scale(weight)).double()
    best = rounding.refit(weight, digits, torch.ones(12, dtype=torch.float64), moment)
    for factor in (0.99, 1.01):
        assert (error(weight, digits, best * factor, moment) > error(weight, digits, best, moment)).all()
    assert torch.equal(rounding.refit(weight, digits * 0, best, moment), best), "no digits, no better scale"


def test_rows_and_inputs_of_zeros():
    weight, moment = problem()
    weight[3], moment[5], moment[:, 5] = 0, 0, 0
    digits, scale = rounding.solve(weight, moment, 5, Ptq())
    assert not digits[3].any() and scale.isfinite().all()
    digits, scale = rounding.solve(weight, moment * 0, 5, Ptq())
    assert scale.isfinite().all() and (scale > 0).all()
