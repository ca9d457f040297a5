"""Rows that make up for each other's errors: what the loss feels is its Fisher information, and the error that it feels gets smaller."""

import pytest
import torch
from torch import nn

from pipeline.models.base import Model
from pipeline.quantization.ptq import outputs, rounding
from pipeline.schema.quantization import Ptq
from tests.unit.quantization.test_rounding import problem


class Classes(Model):
    """Logits of 6 classes from one linear map, whose first outputs are nobody's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.last, self.unused = nn.Embedding(9, 4), nn.Linear(4, 6), nn.Linear(4, 3)

    def forward(self, tokens_BT, state=None):
        self.unused(self.embed(tokens_BT))
        return self.last(self.embed(tokens_BT)), None


def moment(rows: int) -> torch.Tensor:
    """A moment [R, R] with correlations, in float64."""
    mix = torch.randn(rows, rows, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return mix @ mix.T / rows + 0.1 * torch.eye(rows, dtype=torch.float64)


def blocks(moment_RR: torch.Tensor) -> torch.Tensor:
    """The diagonal blocks [B, S, S], filled up with zeros."""
    inner = outputs.in_blocks(moment_RR)
    count, size = inner.shape[:2]
    wide = outputs.in_blocks(inner.flatten(0, 1).T).unflatten(2, (count, size))
    return torch.stack([wide[i, :, i] for i in range(count)])


def rounded(rows: int, felt: outputs.Felt | None, **switches: bool):
    weight, inputs = problem(rows=rows)
    steps = Ptq(**switches)
    digits, scale = rounding.solve(weight, rounding.prepare(inputs, steps, torch.float64), 5, steps, felt)
    return weight - digits.double() * scale.double()[:, None], inputs, digits, scale


def test_gradients_are_the_fisher_information(monkeypatch):
    module, tokens = Classes(), torch.arange(9).repeat(400, 1)
    monkeypatch.setattr(outputs, "TOKENS", tokens.numel())
    found = outputs.gradients(module, [tokens])
    with torch.no_grad():
        p = module(tokens)[0].softmax(-1).flatten(0, 1)
    expected = p.sum(0).diag() - p.T @ p
    torch.testing.assert_close(found[module.last.weight][0], expected, rtol=0, atol=0.05 * expected.diagonal().max().item())
    assert not found[module.unused.weight].any(), "what the loss does not depend on is not felt"
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.modules())


def test_few_sequences_are_enough_and_long_ones_go_alone(monkeypatch):
    monkeypatch.setattr(outputs, "TOKENS", 50)
    assert [len(some) for some in outputs.few([torch.zeros(8, 10, dtype=int)])] == [5]
    assert [len(some) for some in outputs.few([torch.zeros(2, 300, dtype=int)] * 2)] == [1]
    monkeypatch.setattr(outputs, "AT_ONCE", 20)
    assert [len(some) for some in outputs.few([torch.zeros(2, 10, dtype=int)] * 4)] == [2, 2, 1]
    assert [len(some) for some in outputs.few([torch.zeros(30, 1, 8, 8)] * 2)] == [20, 20, 10], "an image counts as one"


@pytest.mark.parametrize(("rows", "block"), [(12, 128), (24, 128), (25, 10)])
def test_the_error_that_is_felt_gets_smaller(rows, block, monkeypatch):
    monkeypatch.setattr(outputs, "BLOCK", block)
    felt_RR = torch.block_diag(*blocks(moment(rows)))[:rows, :rows]
    costs = []
    for felt in (None, outputs.prepare(blocks(moment(rows)), 0.01)):
        error, inputs, digits, scale = rounded(rows, felt)
        assert digits.shape == error.shape and scale.shape == (rows,) and digits.abs().max() == 2
        costs.append(torch.einsum("rs,sk,kl,rl->", felt_RR, error, inputs, error).item())
    assert costs[1] < 0.9 * costs[0]


@pytest.mark.parametrize("diagonal", [0.0, 1.0])
def test_rows_that_have_nothing_to_do_with_each_other_are_rounded_alone(diagonal):
    alone, together = (rounded(12, felt) for felt in (None, outputs.prepare(diagonal * torch.eye(12, dtype=torch.float64)[None], 0.01)))
    assert torch.equal(alone[2], together[2]) and torch.equal(alone[3], together[3])
