import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.quantization import grid


def normal(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def best_error_by_enumeration(row, levels):
    """Least squared error over all L^K choices of digits, each with its own best scale."""
    energy = sum(w * w for w in row)
    scores = [0.0]
    for digits in itertools.product(range(-(levels // 2), levels - levels // 2), repeat=len(row)):
        wq, qq = sum(w * q for w, q in zip(row, digits, strict=True)), sum(q * q for q in digits)
        if qq and wq > 0:
            scores.append(wq * wq / qq)
    return energy - max(scores)


def error(weight, scale, levels=5):
    digits = grid.nearest(weight, scale, levels)
    return (weight.double() - digits * scale.double()[:, None]).square().sum(1)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([3, 4, 5, 7]), st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=4))
def test_scale_is_the_global_minimum(levels, row):
    weight = torch.tensor([row])
    found = error(weight, grid.best_scale(weight, levels), levels).item()
    assert found == pytest.approx(best_error_by_enumeration(weight[0].double().tolist(), levels), rel=1e-9, abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, torch.finfo(torch.float32).max, width=32), min_size=1, max_size=6))
def test_stored_scales_are_near_and_stay_as_they_are(scales):
    scale = torch.tensor(scales)
    stored = grid.stored(scale)
    assert torch.equal(grid.stored(stored), stored)
    assert torch.equal(stored.to(grid.SCALE_TYPE).float(), stored)
    assert torch.equal(stored == 0, scale == 0)
    inside = (scale > stored.max() * 2.0**-15) & (scale > torch.finfo(torch.float32).tiny) & (scale < 1e38)
    assert ((stored / scale - 1).abs()[inside] <= 1 / 32).all()


def test_eight_bits_of_a_scale_cost_less_than_a_hundredth_of_a_decibel():
    weight = normal(64, 512)
    exact = grid.best_scale(weight)
    stored = grid.stored(exact)
    before, after = (grid.snr_db(weight, grid.nearest(weight, scale), scale) for scale in (exact, stored))
    assert before - 0.01 < after < before


@pytest.mark.parametrize(("levels", "decibels"), [(3, 7.1), (4, 8.1), (5, 10.8), (7, 13.2), (9, 15.0), (15, 18.8), (256, 41)])
def test_more_levels_are_better(levels, decibels):
    weight = normal(16, 1000)
    digits, scale = grid.quantize(weight, levels)
    assert grid.snr_db(weight, digits, scale) > decibels
    assert digits.min() >= -(levels // 2) and digits.max() <= (levels - 1) // 2


def test_no_scale_of_a_fine_grid_is_better():
    weight = normal(8, 500)
    best = error(weight, grid.best_scale(weight))
    for scale in torch.linspace(0.05, 2.0, 800, dtype=torch.float64):
        assert (error(weight, scale.expand(8)) >= best - 1e-9).all()


def test_normal_weights_give_the_known_step_and_ratio():
    """The optimal uniform 5-level quantizer of a Gaussian: step 0.843 sigma, 10.8 dB (Max 1960)."""
    weight = normal(4, 100_000)
    digits, scale = grid.quantize(weight)
    assert scale.float().mean().item() == pytest.approx(0.843, abs=0.01)
    assert grid.snr_db(weight, digits, scale) == pytest.approx(10.82, abs=0.03)


def test_five_levels_are_found_again():
    digits = torch.randint(-2, 3, (16, 64), dtype=torch.int8, generator=torch.Generator().manual_seed(1))
    scale = grid.stored(torch.linspace(0.5, 2, 16)).to(grid.SCALE_TYPE)
    weight = digits * scale.float()[:, None]
    found, again = grid.quantize(weight)
    assert torch.equal(found, digits)
    assert torch.equal(again, scale)
    assert grid.snr_db(weight, found, again) is None


@pytest.mark.parametrize("factor", [2.0**-100, 2.0**100])
def test_digits_do_not_depend_on_the_weights_size(factor):
    weight = normal(4, 50)
    assert torch.equal(grid.quantize(weight * factor)[0], grid.quantize(weight)[0])


def test_edges():
    digits, scale = grid.quantize(torch.zeros(3, 5))
    assert digits.tolist() == [[0] * 5] * 3 and scale.tolist() == [0] * 3
    assert grid.quantize(torch.tensor([[3.0], [-0.5]]))[0].abs().tolist() in ([[1], [1]], [[2], [2]])
    assert grid.quantize(torch.zeros(0, 5))[0].shape == (0, 5)
    assert grid.quantize(torch.zeros(2, 0))[0].shape == (2, 0)
    digits, scale = grid.quantize(torch.full((1, 3), torch.finfo(torch.float32).max))
    assert scale.isfinite().all() and digits.abs().min() > 0
    digits, scale = grid.quantize(torch.full((1, 3), 1e-45))
    assert digits.tolist() == [[0, 0, 0]] or scale.item() > 0


def test_chunks_do_not_change_the_result(monkeypatch):
    weight = normal(20, 30)
    whole = grid.quantize(weight)
    monkeypatch.setattr(grid, "CHUNK", 70)
    parts = grid.quantize(weight)
    assert torch.equal(whole[0], parts[0]) and torch.equal(whole[1], parts[1])
