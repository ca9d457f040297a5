import itertools

import pytest
import torch

from pipeline.ops import native
from pipeline.ops import reference_spiking as reference
from pipeline.ops.spiking import silent_state, spiking_run

NUMBERS = {"rho": 0.9, "kappa": 0.8, "height": 0.4, "refractory": 0, "reset": "subtract"}
EVERY_KIND = [
    ((1, 5, 16, 16, 1), {}),
    ((3, 7, 64, 32, 3), {"reset": "zero", "refractory": 2}),
    ((7, 12, 128, 64, 4), {"refractory": 1}),
    ((64, 10, 256, 64, 7), {}),
    ((130, 9, 96, 16, 40), {"reset": "zero"}),
    ((5, 6, 64, 32, 0), {}),
    ((66, 11, 384, 64, 9), {"refractory": 1}),  # large enough to be written past the caches
]


@pytest.fixture(autouse=True)
def as_before():
    level, threads = native.module().level(), torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    native.module().use_level(level)
    torch.set_num_threads(threads)


def problem(streams, steps, neurons, block, blocks, drive=0.8):
    """Tensors of such a run, in the order of its arguments; some blocks may lie on each other."""
    random = torch.Generator().manual_seed(neurons + streams)
    uniform = lambda *shape: torch.rand(*shape, generator=random)  # noqa: E731
    normal = lambda *shape: torch.randn(*shape, generator=random)  # noqa: E731
    places = torch.randint(neurons // block, (blocks, 2), generator=random)
    weight = normal(blocks, block, block) / (0.3 * max(blocks, 1) * block * block / neurons) ** 0.5
    spike = (uniform(streams, neurons) < 0.1).float()
    since = torch.randint(0, 5, (streams, neurons), generator=random) * (1 - spike)
    state = torch.stack([0.3 * normal(streams, neurons), 0.2 * uniform(streams, neurons), spike, uniform(streams, neurons), since])
    neuron = 0.3 + 0.6 * uniform(neurons), 1 + 0.2 * uniform(neurons), 0.5 * uniform(neurons)
    return drive * normal(streams, steps, neurons), weight, places, *neuron, state


def results(run, tensors, dtype=torch.float32, **numbers):
    """Spikes, last state, and the gradients of a random linear loss of both."""
    tensors = [x if x.dtype == torch.int64 else x.to(dtype).requires_grad_() for x in tensors]
    spikes, last = run(*tensors, **NUMBERS | numbers)
    random = torch.Generator().manual_seed(0)
    loss = sum((out * torch.randn(out.shape, generator=random).to(dtype)).sum() for out in (spikes, last[:4]))
    return [spikes.detach(), last.detach(), *torch.autograd.grad(loss, [x for x in tensors if x.requires_grad], materialize_grads=True)]


@pytest.mark.parametrize(("sizes", "numbers"), EVERY_KIND)
def test_spikes_states_and_gradients_equal_the_definition(sizes, numbers):
    tensors = problem(*sizes)
    found, expected = results(spiking_run, tensors, **numbers), results(reference.spiking_run, tensors, torch.float64, **numbers)
    assert torch.equal(found[0].double(), expected[0])
    assert 0.02 < expected[0].mean() < 0.5
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f.double(), e, rtol=0, atol=1e-5 * max(1.0, float(e.abs().max()) if e.numel() else 1.0))


@pytest.mark.parametrize(("sizes", "numbers"), EVERY_KIND)
def test_levels_and_threads_give_the_same_bytes(sizes, numbers):
    tensors = problem(*sizes)
    native.module().use_level("scalar")
    expected = results(spiking_run, tensors, **numbers)
    for level, threads in itertools.product(native.module().levels(), [1, 2]):
        native.module().use_level(level)
        torch.set_num_threads(threads)
        assert all(torch.equal(f, e) for f, e in zip(results(spiking_run, tensors, **numbers), expected, strict=True)), (level, threads)


@pytest.mark.parametrize("drive", [0.05, 5.0])
def test_few_and_many_spikes(drive):
    """Both ways of the forward product: by events, and dense where more than three in ten neurons fire."""
    tensors = problem(20, 8, 128, 64, 3, drive)
    found, _ = spiking_run(*tensors, **NUMBERS)
    expected, _ = reference.spiking_run(*[x if x.dtype == torch.int64 else x.double() for x in tensors], **NUMBERS)
    assert torch.equal(found.double(), expected)
    assert (expected[:, 2:].mean() > 0.3) == (drive > 1)


def test_a_run_in_two_halves_is_the_run():
    tensors = problem(3, 10, 64, 32, 4)
    spikes, last = spiking_run(*tensors, refractory=2)
    first, middle = spiking_run(tensors[0][:, :4], *tensors[1:], refractory=2)
    second, end = spiking_run(tensors[0][:, 4:], *tensors[1:6], middle, refractory=2)
    assert torch.equal(torch.cat([first, second], 1), spikes) and torch.equal(end, last)


def test_neurons_at_rest_are_silent_and_refractory_ones_wait():
    one = torch.ones(16)
    coupling = torch.zeros(1, 16, 16), torch.zeros(1, 2, dtype=torch.int64)
    spikes, _ = spiking_run(torch.zeros(1, 20, 16), *coupling, 0.9 * one, one, one, silent_state(1, 16))
    assert not spikes.any()
    spikes, _ = spiking_run(torch.full((1, 12, 16), 9.0), *coupling, 0.9 * one, one, 0 * one, silent_state(1, 16), refractory=3)
    assert spikes[0, :, 0].tolist() == [1, 0, 0, 0] * 3


def test_modules_of_unlike_sizes_are_joined_by_rectangles_of_blocks():
    """A has 40 neurons, B 20, in blocks of 16: A fills blocks 0 to 2, B blocks 3 and 4, and only A projects to B."""
    random = torch.Generator().manual_seed(0)
    rectangle = torch.zeros(48, 32)
    rectangle[:40, :20] = torch.randn(40, 20, generator=random)
    weight = rectangle.reshape(3, 16, 2, 16).transpose(1, 2).reshape(6, 16, 16).requires_grad_()
    places = torch.cartesian_prod(torch.arange(3), torch.arange(3, 5))
    drive = torch.zeros(2, 6, 80)
    drive[:, :, :40] = 3 * torch.rand(2, 6, 40, generator=random)
    one = torch.ones(80)
    spikes, last = spiking_run(drive, weight, places, 0.5 * one, one, 0 * one, silent_state(2, 80))
    from_a, into_b = spikes[:, :-1, :40].detach(), torch.zeros(2, 20)
    for t in range(5):
        v = into_b = 0.5 * (into_b - (into_b > 1).float()) + from_a[:, t] @ rectangle[:40, :20]
        assert torch.equal(spikes[:, t + 1, 48:68], (v > 1).float())
    torch.testing.assert_close(last[0, :, 48:68], into_b)
    assert not spikes[..., 40:48].any() and not spikes[..., 68:].any()
    (gradient,) = torch.autograd.grad(last[0, :, 48:68].sum(), weight)
    assert gradient.reshape(3, 2, 16, 16).transpose(1, 2).reshape(48, 32)[:40, :20].any()


def test_inputs_may_lie_anyhow_and_streams_be_none():
    tensors = problem(6, 4, 32, 16, 3)
    lying = [x.transpose(0, -1).contiguous().transpose(0, -1) if x.dim() > 1 else x.repeat_interleave(2)[::2] for x in tensors]
    assert not any(x.is_contiguous() for x in lying)
    assert all(torch.equal(f, e) for f, e in zip(results(spiking_run, lying), results(spiking_run, tensors), strict=True))
    found = results(spiking_run, problem(0, 4, 32, 16, 3))
    assert found[0].shape == (0, 4, 32) and not found[2].any() and not found[3].any()


def good():
    drive, weight, places, alpha, theta, beta, state = problem(2, 3, 32, 16, 2)
    return {"drive": drive, "weight": weight, "places": places, "alpha": alpha, "theta": theta, "beta": beta, "state": state}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drive": torch.zeros(2, 3, 40)}, "drive must have a multiple of 16 neurons, not 40"),
        ({"drive": torch.zeros(2, 0, 32)}, "drive must have at least one step"),
        ({"drive": torch.zeros(2, 32)}, "drive must have 3 dimensions, not 2"),
        ({"drive": torch.zeros(2, 3, 32, dtype=torch.float64)}, "drive must have dtype float32"),
        ({"weight": torch.zeros(2, 16, 17)}, "weight must have size 16 in dimension 2"),
        ({"weight": torch.zeros(2, 8, 8)}, "weight must have blocks of 16, 32 or 64 neurons, not 8"),
        ({"weight": torch.zeros(2, 0, 0)}, "weight must have blocks of 16, 32 or 64 neurons, not 0"),
        ({"places": torch.tensor([[0, 1], [2, 0]])}, r"places\[1, 0\] = 2 must be a block from 0 to 1"),
        ({"places": torch.tensor([[0, -1], [1, 0]])}, r"places\[0, 1\] = -1"),
        ({"places": torch.tensor([[0, 1]])}, "places must have size 2 in dimension 0, not 1"),
        ({"places": torch.zeros(2, 2)}, "places must have dtype int64"),
        ({"alpha": torch.zeros(31)}, "alpha must have size 32"),
        ({"beta": torch.zeros(32, 1)}, "beta must have 1 dimensions"),
        ({"state": torch.zeros(4, 2, 32)}, "state must have size 5"),
        ({"state": torch.zeros(5, 3, 32)}, "state must have size 2 in dimension 1, not 3"),
        ({"reset": "none"}, "reset must be one of subtract, zero, not 'none'"),
        ({"refractory": -1}, "refractory must be from 0 to 1000"),
        ({"rho": 1.5}, r"rho must be in \[0, 1\]"),
        ({"kappa": float("nan")}, r"kappa must be in \[0, 1\]"),
        ({"height": 0.0}, "height must be above 0"),
    ],
)
def test_mistakes_name_the_argument(change, message):
    spiking_run(**good())
    with pytest.raises(ValueError, match=message):
        spiking_run(**good() | change)


def test_backward_refuses_what_it_did_not_keep():
    drive, *others = problem(2, 3, 32, 16, 2)
    run = (*others, drive, 0, False, [0.9, 0.9, 0.4], True)
    spikes, _, *kept = torch.ops.quintet.spiking(*run)
    torch.ops.quintet.spiking_backward(*run, *kept, spikes, None)
    for i in range(4):
        with pytest.raises(ValueError, match="must have size"):
            torch.ops.quintet.spiking_backward(*run, *kept[:i], kept[i][1:], *kept[i + 1 :], spikes, None)
    with pytest.raises(ValueError, match="spikes_gradient must have size"):
        torch.ops.quintet.spiking_backward(*run, *kept, spikes[:, 1:], None)


@pytest.mark.parametrize("keep", [True, False])
def test_torch_library_contract(keep):
    drive, *others = problem(2, 3, 32, 16, 2)
    others = [x.requires_grad_(keep) if x.is_floating_point() else x for x in others]
    torch.library.opcheck(torch.ops.quintet.spiking.default, (*others, drive, 1, True, [0.9, 0.9, 0.4], keep))


def test_compile_sees_one_operation():
    tensors = problem(2, 3, 32, 16, 2)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def loss(drive, weight, *others):
        return spiking_run(drive, weight, *others)[0].sum()

    weight = tensors[1].clone().requires_grad_()
    compiled = torch.autograd.grad(loss(tensors[0], weight, *tensors[2:]), weight)
    eager = torch.autograd.grad(spiking_run(tensors[0], weight, *tensors[2:])[0].sum(), weight)
    assert torch.equal(compiled[0], eager[0])
