"""Sparse connections: where their sources are."""

import hashlib

import pytest
import torch

from pipeline.models.sparse import FanIn, sources
from pipeline.ops.reference_fan_in import fan_in


@pytest.mark.parametrize("count, columns, synapses", [(16, 3, 16), (100, 7, 32), (32768, 50, 64), (17, 1, 16)])
def test_sources_rise_and_are_spread_over_all(count, columns, synapses):
    found = sources(count, columns, synapses, "any").long()
    assert found.shape == (columns, synapses) and found.min() >= 0 and found.max() < count
    assert (found.diff(dim=1) > 0).all()
    part = torch.arange(synapses)
    assert (found >= part * count // synapses).all() and (found < (part + 1) * count // synapses).all()


def test_sources_are_the_same_on_every_machine():
    found = sources(1000, 20, 48, "thalamus_wernicke")
    assert hashlib.sha256(found.numpy().tobytes()).hexdigest()[:16] == "0f5d4547229959ef"
    assert not torch.equal(found, sources(1000, 20, 48, "prefrontal_wernicke"))


def test_every_source_is_as_likely_as_another():
    found = sources(64, 4000, 16, "any")
    counts = found.flatten().bincount(minlength=64).double()
    assert counts.sum() == 64000 and (counts - 1000).abs().max() < 5 * 1000**0.5
    neighbours = torch.corrcoef(found.double().t())
    assert (neighbours - torch.eye(16)).abs().max() < 0.08


def test_what_synapses_get_and_what_they_connect():
    layer = FanIn(40, 24, 16, "any")
    with torch.no_grad():
        layer.weight.normal_()
    x, y = torch.randn(3, 40), torch.randn(3, 16)
    torch.testing.assert_close(layer(x), fan_in(layer.weight, layer.sources, x))
    torch.testing.assert_close((layer.gathered(x) * layer.weight).sum(2), layer(x))
    torch.testing.assert_close(layer.outer(y, x), torch.einsum("bm,bmf->mf", y, layer.gathered(x)[:, :16]))
    assert layer.state_dict().keys() == {"weight"}
