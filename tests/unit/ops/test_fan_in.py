"""Sparse connections against their definition, at every level of instructions and for any number of threads."""

import pytest
import torch

from pipeline.ops import native, reference_fan_in
from pipeline.ops.fan_in import Synapses, fan_in

SIZES = [(1, 16, 16, 16), (5, 40, 24, 16), (64, 100, 96, 32), (70, 64, 160, 64), (16, 33, 1, 32), (131, 48, 50, 16), (0, 32, 32, 16)]
"""Rows, sources, targets, synapses a target."""


def problem(rows: int, sources: int, targets: int, fan: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    stream = torch.Generator().manual_seed(3)
    columns = -(-targets // reference_fan_in.COLUMN)
    chosen = torch.stack([torch.randperm(sources, generator=stream)[:fan].sort().values for _ in range(columns)])
    return torch.randn(targets, fan, generator=stream), chosen.int(), torch.randn(rows, sources, generator=stream)


def gradients(run, weight, sources, x):
    weight, x = weight.clone().requires_grad_(), x.clone().requires_grad_()
    y = run(weight, sources, x)
    loss = (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum()
    return y.detach(), *torch.autograd.grad(loss, (weight, x))


@pytest.mark.parametrize("name", native.module().levels())
@pytest.mark.parametrize("sizes", SIZES)
def test_the_kernel_computes_the_definition(level, name, sizes):
    level(name)
    weight, sources, x = problem(*sizes)
    wanted = gradients(reference_fan_in.fan_in, weight.double(), sources, x.double())
    for got, want in zip(gradients(fan_in, weight, sources, x), wanted, strict=True):
        torch.testing.assert_close(got, want.float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sizes", SIZES)
def test_every_level_and_number_of_threads_gives_the_same_bytes(level, sizes):
    inputs, results = problem(*sizes), []
    before = torch.get_num_threads()
    try:
        for name in native.module().levels():
            level(name)
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                results.append(gradients(fan_in, *inputs))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_the_definition_has_the_right_gradients_and_sums():
    weight, sources, x = (each.double() if each.is_floating_point() else each for each in problem(3, 20, 18, 16))
    y = reference_fan_in.fan_in(weight, sources, x)
    by_hand = [[sum(weight[i, f] * x[b, sources[i // 16, f]] for f in range(16)) for i in range(18)] for b in range(3)]
    torch.testing.assert_close(y, torch.tensor(by_hand, dtype=torch.float64))
    inputs = weight.requires_grad_(), x.requires_grad_()
    assert torch.autograd.gradcheck(lambda w, x: reference_fan_in.fan_in(w, sources, x), inputs)


@pytest.mark.parametrize("wanted", ["weight", "x"])
def test_a_gradient_that_nobody_wants_is_not_computed(wanted):
    weight, sources, x = problem(5, 40, 24, 16)
    all_of_them = dict(zip(("weight", "x"), gradients(fan_in, weight, sources, x)[1:], strict=True))
    weight.requires_grad_(wanted == "weight")
    x.requires_grad_(wanted == "x")
    y = fan_in(weight, sources, x)
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    assert torch.equal((weight if wanted == "weight" else x).grad, all_of_them[wanted])
    assert (x if wanted == "weight" else weight).grad is None


@pytest.mark.parametrize("otherwise", [False, True])
def test_synapses_add_up_the_gradients_of_all_calls(otherwise):
    weight, sources, x = problem(5, 40, 24, 16)
    results = []
    for collected in (False, True):
        leaf = weight.clone().requires_grad_()
        doubled = 2 * leaf
        call = Synapses(doubled, sources) if collected else lambda x, w=doubled: fan_in(w, sources, x)
        y = call(call(x)[:, :1] * x + x) + call(2 * x)
        loss = y.square().sum() + (call.weight if collected else doubled).square().sum() * otherwise
        results.append((y.detach(), *torch.autograd.grad(loss, leaf)))
    for got, want in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-3)


def test_the_shape_is_known_without_computing():
    weight, sources, x = problem(5, 40, 24, 16)
    with torch.device("meta"):
        y = torch.ops.quintet.fan_in(weight.to("meta"), sources.to("meta"), x.to("meta"))
    assert y.shape == (5, 24)


@pytest.mark.parametrize(
    "place, change, message",
    [
        (0, lambda w: w[:, :15], "weight must have a multiple of 16 columns, not 15"),
        (0, lambda w: w.double(), "weight must have dtype float32"),
        (0, lambda w: w[0], "weight must have 2 dimensions, not 1"),
        (1, lambda s: s[:1], "sources must have size 2 in dimension 0, not 1"),
        (1, lambda s: s.long(), "sources must have dtype int32"),
        (1, lambda s: s.flip(1), r"sources\[0, 1\] = \d+ must be from \d+ to 39: the columns of x, rising along a row"),
        (1, lambda s: s + 40, r"sources\[0, 0\] = \d+ must be from 0 to 39"),
        (1, lambda s: s - 40, r"sources\[0, 0\] = -\d+ must be from 0 to 39"),
        (2, lambda x: x[:, :16], r"sources\[\d, \d+\] = \d+ must be from \d+ to 15"),
        (2, lambda x: x[None], "x must have 2 dimensions, not 3"),
    ],
)
def test_mistakes_name_the_argument(place, change, message):
    inputs = list(problem(5, 40, 24, 16))
    fan_in(*inputs)
    inputs[place] = change(inputs[place])
    with pytest.raises(ValueError, match=message):
        fan_in(*inputs)
