"""Schedules, by hand."""

import pytest

from pipeline.training.schedules import factor
from tests.unit.training.toy import settings


def values(*steps: int, **changes: object) -> list[float]:
    return [factor(step, settings(steps=100, warmup_steps=9, **changes)) for step in steps]


def test_warm_up_is_a_straight_line_that_never_stands_still() -> None:
    assert values(0, 1, 4, 8, 9) == pytest.approx([0.1, 0.2, 0.5, 0.9, 1.0])


def test_cosine_falls_to_its_floor_along_half_a_wave() -> None:
    assert values(9, 54, 55, 100, schedule="cosine", final_learning_rate=0.2) == pytest.approx([1.0, 0.6069, 0.5931, 0.2], abs=1e-4)


def test_wsd_is_flat_and_then_straight() -> None:
    assert values(9, 50, 80, 90, 99, schedule="wsd", decay_fraction=0.2, final_learning_rate=0.0) == pytest.approx([1, 1, 1, 0.5, 0.05])
    assert values(90, schedule="wsd", decay_fraction=0.2, final_learning_rate=0.1) == pytest.approx([0.55])


def test_constant_stays() -> None:
    assert values(9, 60, 99, schedule="constant") == [1.0, 1.0, 1.0]


def test_without_warm_up_the_first_step_is_at_the_peak() -> None:
    assert factor(0, settings(warmup_steps=0)) == 1.0
