import itertools

import pytest
import torch

from pipeline.ops import cuda_spiking
from pipeline.ops.spiking import silent_state, spiking_run

NUMBERS = {"rho": 0.9, "kappa": 0.8, "height": 0.4}


def problem(streams, steps, neurons, block, blocks):
    random = torch.Generator().manual_seed(neurons + streams)
    places = torch.randint(neurons // block, (blocks, 2), generator=random)
    weight = torch.randn(blocks, block, block, generator=random) / (0.3 * max(blocks, 1) * block * block / neurons) ** 0.5
    neuron = [low + wide * torch.rand(neurons, generator=random) for low, wide in ((0.3, 0.6), (1.0, 0.2), (0.0, 0.5))]
    drive = 0.8 * torch.randn(streams, steps, neurons, generator=random)
    return [drive, weight, places, *neuron, silent_state(streams, neurons)]


def results(tensors, device, **numbers):
    """Spikes, last state and gradients of a run on a device, on the CPU."""
    tensors = [x.to(device).requires_grad_(x.is_floating_point()) for x in tensors]
    spikes, last = spiking_run(*tensors, **NUMBERS | numbers)
    direction = torch.randn(spikes.shape, generator=torch.Generator().manual_seed(0)).to(device)
    gradients = torch.autograd.grad((spikes * direction).sum() + last[:4].sum(), [x for x in tensors if x.requires_grad])
    return [x.detach().cpu() for x in (spikes, last, *gradients)]


def lists(places, count, end):
    """The wiring by its definition."""
    blocks = [[k for k, place in enumerate(places.tolist()) if place[end] == tile] for tile in range(count)]
    flat = list(itertools.chain(*blocks))
    return [0, *itertools.accumulate(map(len, blocks)), *flat, *(places[k, 1 - end].item() for k in flat)]


@pytest.mark.parametrize("blocks", [0, 1, 9])
def test_wiring_lists_the_blocks_of_each_tile(blocks):
    places = torch.randint(5, (blocks, 2), generator=torch.Generator().manual_seed(blocks))
    into, out_of = cuda_spiking.wiring(places, 5)
    assert into.tolist() == lists(places, 5, 1) and out_of.tolist() == lists(places, 5, 0)


def test_wiring_follows_what_is_written_into_places():
    places = torch.tensor([[0, 1], [1, 0]])
    before = cuda_spiking.wiring(places, 2)
    assert cuda_spiking.wiring(places, 2) is before
    places[0, 1] = 0
    assert cuda_spiking.wiring(places, 2)[0].tolist() == lists(places, 2, 1)
    places[1, 0] = 2
    with pytest.raises(ValueError, match=r"places\[1, 0\] = 2 must be a block from 0 to 1"):
        cuda_spiking.wiring(places, 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestOnDevice:
    @pytest.mark.parametrize(
        ("sizes", "numbers"),
        [
            ((1, 5, 16, 16, 1), {}),
            ((3, 7, 80, 16, 9), {"reset": "zero", "refractory": 2}),
            ((13, 12, 128, 32, 4), {"refractory": 1}),
            ((64, 32, 1024, 64, 64), {}),
            ((5, 6, 64, 64, 0), {"reset": "zero"}),
        ],
    )
    def test_equals_the_cpu(self, sizes, numbers):
        tensors = problem(*sizes)
        found, expected = results(tensors, "cuda", **numbers), results(tensors, "cpu", **numbers)
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
        assert expected[0].any()
        for f, e in zip(found, expected, strict=True):
            torch.testing.assert_close(f, e, rtol=0, atol=1e-5 * max(1.0, float(e.abs().max()) if e.numel() else 1.0))

    def test_runs_repeat_exactly(self):
        tensors = problem(33, 9, 256, 64, 7)
        assert all(torch.equal(a, b) for a, b in zip(results(tensors, "cuda"), results(tensors, "cuda"), strict=True))

    def test_no_streams_and_no_gradient(self):
        drive, *others = [x.cuda() for x in problem(0, 4, 32, 16, 2)]
        assert spiking_run(drive, *others)[0].shape == (0, 4, 32)
        tensors = problem(4, 6, 64, 32, 3)
        with torch.no_grad():
            found, expected = (spiking_run(*[x.to(device) for x in tensors])[0].cpu() for device in ("cuda", "cpu"))
        assert torch.equal(found, expected)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({1: torch.zeros(3, 16, 17)}, "weight must have size 16 in dimension 2"),
            ({2: torch.tensor([[0, 1], [5, 0], [0, 0]])}, r"places\[1, 0\] = 5 must be a block from 0 to 3"),
            ({3: torch.zeros(63)}, "alpha must have size 64"),
        ],
    )
    def test_mistakes_name_the_argument(self, change, message):
        tensors = dict(enumerate(problem(2, 3, 64, 16, 3))) | change
        with pytest.raises(ValueError, match=message):
            spiking_run(*[x.cuda() for x in tensors.values()])
