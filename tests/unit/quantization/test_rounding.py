"""The steps of rounding one matrix: each does what it says, and none makes the error larger."""

import itertools

import pytest
import torch

from pipeline.quantization import grid
from pipeline.quantization.ptq import rounding
from pipeline.schema.quantization import Ptq

STEPS = ("search", "restarts", "feedback", "order", "descent", "refit")
DOUBLE = torch.float64
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
    return error(weight, *rounded(weight, moment, levels, Ptq(**{**OFF, **switches})), moment).sum().item()


def rounded(weight, moment, levels, steps, dtype=DOUBLE):
    return rounding.solve(weight, rounding.prepare(moment, steps, dtype), levels, steps)


def test_no_steps_is_least_squared_error():
    weight, moment = problem()
    digits, scale = rounded(weight, moment, 5, Ptq(**OFF))
    expected, expected_scale = grid.quantize(weight)
    assert torch.equal(digits, expected) and torch.equal(scale, expected_scale)


@pytest.mark.parametrize("levels", [3, 4, 5, 15, 256])
def test_every_step_lowers_the_error(levels):
    weight, moment = problem()
    so_far, errors = {"damping": 0.01}, [solved(weight, moment, levels)]
    for step in ("search", "feedback", "order", "descent", "refit"):
        so_far[step] = True
        errors.append(solved(weight, moment, levels, **so_far))
    assert errors[1] <= errors[0] * 1.05, "the weights of the search are H's diagonal alone"
    assert errors[2] < errors[1] and errors[3] < 0.8 * errors[1] and errors[5] < errors[3]
    assert solved(weight, moment, levels, search=True, descent=True) < errors[1]
    assert solved(weight, moment, levels, search=True, refit=True) <= errors[1] * 1.0001


@pytest.mark.parametrize("levels", [3, 5, 15])
def test_restarts_keep_the_best_of_each_row(levels):
    weight, moment = problem()
    found = [error(weight, *rounded(weight, moment, levels, Ptq(restarts=restarts)), moment) for restarts in (False, True)]
    assert (found[1] <= found[0] * 1.0001).all() and found[1].sum() < 0.99 * found[0].sum()


def ratios(weight):
    """Weights in stored scales of least squared error, [K, R], and those scales."""
    scale = grid.stored(grid.best_scale(weight)).double()
    return (weight / scale[:, None]).T, scale


def test_without_correlations_feedback_is_rounding_to_the_nearest():
    weight, moment = problem()
    ratio, scale = ratios(weight)
    for by_size in (False, True):
        inputs = rounding.prepare(moment.diagonal().diag(), Ptq(order=by_size), DOUBLE)
        assert torch.equal(rounding.feedback(ratio, inputs, 5), grid.nearest(weight, scale).double().T)


def test_blocks_change_nothing(monkeypatch):
    weight, moment = problem()
    ratio, _ = ratios(weight)
    start = rounding.nearest(ratio, 5)

    def found():
        inputs = rounding.prepare(moment, Ptq(), DOUBLE)
        return rounding.feedback(ratio, inputs, 5), rounding.descend(start, moment @ ratio, moment @ start, moment, 5)[0]

    whole, solution = found(), rounded(weight, moment, 5, Ptq())
    monkeypatch.setattr(rounding, "BLOCK", 7)
    assert all(torch.equal(one, other) for one, other in zip(found(), whole, strict=True))
    monkeypatch.setattr(rounding, "ROWS", 5)
    assert all(torch.equal(one, other) for one, other in zip(rounded(weight, moment, 5, Ptq()), solution, strict=True))


def test_single_precision_is_enough():
    weight, moment = problem(rows=40, columns=200)
    found = [error(weight, *rounded(weight, moment, 5, Ptq(), dtype), moment).sum().item() for dtype in (torch.float32, DOUBLE)]
    assert found[0] == pytest.approx(found[1], rel=0.02)


def test_scales_keep_to_what_a_file_holds():
    weight, moment = problem()
    weight[0] *= 1e9
    _, scale = rounded(weight, moment, 5, Ptq())
    assert torch.equal(grid.stored(scale), scale.float()) and scale.max() > 1e8


def test_descent_ends_where_no_digit_alone_can_be_bettered(monkeypatch):
    weight, moment = problem(rows=4, columns=10)
    ratio, scale = ratios(weight)
    monkeypatch.setattr(rounding, "SWEEPS", 20)
    start = rounding.nearest(ratio, 5)
    found, had = rounding.descend(start, moment @ ratio, moment @ start, moment, 5)
    torch.testing.assert_close(had, moment @ found)
    least = error(weight, found.T, scale, moment)
    for column, digit in itertools.product(range(10), range(-2, 3)):
        other = found.T.clone()
        other[:, column] = digit
        assert (error(weight, other, scale, moment) >= least - 1e-9).all()


def test_refit_is_the_minimum():
    weight, moment = problem()
    ratio, scale = ratios(weight)
    digits = rounding.nearest(ratio, 5)
    best = scale * rounding.refit(digits, moment @ ratio, moment @ digits)
    for factor in (0.99, 1.01):
        assert (error(weight, digits.T, best * factor, moment) > error(weight, digits.T, best, moment)).all()
    assert (rounding.refit(digits * 0, moment @ ratio, digits * 0) == 1).all(), "no digits, no better scale"


def test_rows_and_inputs_of_zeros():
    weight, moment = problem()
    weight[3], moment[5], moment[:, 5] = 0, 0, 0
    digits, scale = rounded(weight, moment, 5, Ptq())
    assert not digits[3].any() and scale.isfinite().all()
    digits, scale = rounded(weight, moment * 0, 5, Ptq())
    assert scale.isfinite().all() and (scale > 0).all()
