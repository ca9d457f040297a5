import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.conversion import Bounds, parity
from pipeline.conversion.prompts import Prompts
from pipeline.stages import convert
from tests.unit.evaluation.toys import Table

PROMPTS = Prompts(torch.tensor([[0, 1, 2, 0], [1, 1, 0, 2], [2, 0, 1, 1]]), given=2)
BOUNDS = Bounds(max_logit_difference=0.5, kl_divergence=0.1, greedy_equal=0.9)


def table(rows):
    model = Table(torch.tensor(rows), context=4)
    model.config = {"vocab_size": 3}
    return model


@pytest.fixture
def reference():
    """After 0 comes 1, after 1 comes 2, after 2 comes 0."""
    return table([[0.0, 4.0, 0.0], [0.0, 0.0, 4.0], [4.0, 0.0, 0.0]])


def test_a_model_equals_itself(reference):
    assert parity.compare(reference, reference, PROMPTS) == (0.0, 0.0, 1.0)


def test_greedy_continuation_uses_the_state(reference):
    observed = parity.observe(reference, PROMPTS)
    assert observed.greedy_BN.tolist() == [[2, 0], [2, 0], [1, 2]]
    assert observed.logits_BTV.shape == (3, 4, 3)


def test_a_constant_shift_is_a_difference_of_logits_but_not_of_distributions(reference):
    found = parity.compare(reference, table((reference.table + 0.25).tolist()), PROMPTS)
    assert found.max_logit_difference == 0.25
    assert found.kl_divergence == pytest.approx(0, abs=1e-15)
    assert found.greedy_equal == 1.0


def test_divergence_is_the_mean_over_positions(reference):
    other = table([[0.0, 4.0, 0.0], [0.0, 0.0, 4.0], [0.0, 0.0, 0.0]])
    p = math.exp(4) / (math.exp(4) + 2)
    q = 1 / (math.exp(4) + 2)
    after_two = p * math.log(3 * p) + 2 * q * math.log(3 * q)
    share = (PROMPTS.tokens_BT == 2).double().mean().item()
    assert parity.compare(reference, other, PROMPTS).kl_divergence == pytest.approx(share * after_two)


def test_one_wrong_continuation_of_three_is_counted(reference):
    other = table([[0.0, 4.0, 4.5], [0.0, 0.0, 4.0], [4.0, 0.0, 0.0]])
    assert parity.compare(reference, other, PROMPTS).greedy_equal == pytest.approx(2 / 3)


def test_parts_give_the_same_figures(reference, monkeypatch):
    other = table([[0.0, 4.0, 4.5], [0.0, 0.5, 4.0], [4.0, 0.0, 0.1]])
    whole = parity.compare(reference, other, PROMPTS)
    monkeypatch.setattr(parity, "LOGITS_AT_ONCE", 1)
    assert parity.compare(reference, other, PROMPTS) == pytest.approx(whole)


@pytest.mark.parametrize(
    ("found", "named"),
    [
        (parity.Parity(0.51, 0.0, 1.0), r"max_logit_difference is 0.51 \(bound 0.5\)"),
        (parity.Parity(0.0, 0.2, 1.0), "kl_divergence is 0.2"),
        (parity.Parity(0.0, 0.0, 0.89), "greedy_equal is 0.89"),
        (parity.Parity(math.nan, math.nan, 1.0), "max_logit_difference is nan.*kl_divergence is nan"),
    ],
)
def test_what_is_out_of_bounds_is_an_error_with_figures(found, named):
    with pytest.raises(parity.ParityError, match=f"exports/m/onnx does not compute what its model does: .*{named}"):
        parity.require(found, BOUNDS, "exports/m/onnx")


def test_bounds_themselves_are_within_bounds():
    parity.require(parity.Parity(0.5, 0.1, 0.9), BOUNDS, "exports/m/onnx")
    with pytest.raises(parity.ParityError, match="max_logit_difference"):
        parity.require(parity.Parity(math.nextafter(0.5, 1), 0.1, 0.9), BOUNDS, "exports/m/onnx")


def test_a_brain_may_flip_a_spike_but_not_be_another(reference, tmp_path):
    (tmp_path / "weights").write_bytes(b"")
    often = Prompts(torch.tensor([[1, 1, 1, 1]] * 99 + [[2, 2, 2, 2]]), given=2)  # one position of a hundred is after a 2
    flipped, wrong = [[0.0, 4.0, 0.0], [0.0, 0.0, 4.0], [4.0, 0.0, 1.5]], [[0.0, 4.0, 0.0], [0.0, 1.0, 4.0], [4.0, 0.0, 0.0]]

    def judge(family: str, rows: list[list[float]]) -> dict[str, float]:
        reference.config["quintet"] = {"family": family}
        converter: Any = SimpleNamespace(load=lambda _: table(rows), BOUNDS=BOUNDS, WEIGHTS="weights")
        return convert._compare(reference, converter, tmp_path, often)

    assert judge("neurogen", flipped)["max_logit_difference"] == 1.5
    with pytest.raises(parity.ParityError, match=r"max_logit_difference is 1\.5"):
        judge("gru", flipped)
    with pytest.raises(parity.ParityError, match="kl_divergence"):
        judge("neurogen", wrong)
