"""A phase of spiking neurons against its definition, at every level of instructions."""

import pytest
import torch

from pipeline.ops import native, reference_phase
from pipeline.ops.phase import phase_run

NUMBERS = {"steps": 3, "rho": 0.9, "beta": 1.5, "height": 0.4}
ROWS, NEURONS = 5, 48


def problem(by_row: bool, steps: int = 3, rows: int = ROWS) -> tuple[list[torch.Tensor], dict]:
    stream = torch.Generator().manual_seed(7)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.empty(shape).uniform_(low, high, generator=stream)

    own = rows if by_row else 1
    inputs = [uniform(-2, 2, rows, NEURONS), uniform(0.5, 2, NEURONS), uniform(-0.5, 1, NEURONS), uniform(0.5, 1.5, rows, NEURONS)]
    inputs += [
        uniform(0.1, 0.9, own, NEURONS),
        uniform(0.3, 1, own, NEURONS),
        uniform(-1, 1, rows, NEURONS),
        uniform(0, 0.3, rows, NEURONS),
    ]
    return inputs, NUMBERS | {"steps": steps}


def gradients(run, inputs, numbers):
    inputs = [x.clone().requires_grad_() for x in inputs]
    rate, last, adapted = run(*inputs, **numbers)
    loss = (rate * torch.linspace(-1, 1, NEURONS)).sum() + 0.1 * last.square().sum()
    return rate, last, adapted, *torch.autograd.grad(loss, inputs[:7])


@pytest.mark.parametrize("name", native.module().levels())
@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("steps", [1, 3, 16])
def test_the_kernel_computes_the_definition(level, name, by_row, steps):
    level(name)
    inputs, numbers = problem(by_row, steps)
    wanted = gradients(reference_phase.phase_run, inputs, numbers)
    assert 0.02 < wanted[0].mean() < 0.9
    for got, want in zip(gradients(phase_run, inputs, numbers), wanted, strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rows", [5, 21])
@pytest.mark.parametrize("by_row", [False, True])
def test_every_level_and_number_of_threads_gives_the_same_bytes(level, rows, by_row):
    inputs, numbers = problem(by_row, rows=rows)
    results, before = [], torch.get_num_threads()
    try:
        for name in native.module().levels():
            level(name)
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                results.append(gradients(phase_run, inputs, numbers))
    finally:
        torch.set_num_threads(before)
    wanted = gradients(reference_phase.phase_run, inputs, numbers)
    for got, want in zip(results[0], wanted, strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_the_smooth_definition_has_the_surrogate_derivative():
    inputs, numbers = problem(False)
    inputs = [x.double().requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(lambda *x: reference_phase.phase_run(*x, **numbers, smooth=True), inputs)


@pytest.mark.parametrize(
    "place, change, message",
    [
        (0, lambda x: x[:, :40], "current must have a multiple of 16 neurons, not 40"),
        (1, lambda x: x[:32], "gain must have size 48 in dimension 0, not 32"),
        (3, lambda x: x[:4], "modulation must have size 5 in dimension 0, not 4"),
        (4, lambda x: x[:, :32], "decay must have size 48 in dimension 1, not 32"),
        (5, lambda x: x.expand(5, 48), "charge must have size 1 in dimension 0, not 5"),
        (6, lambda x: x.double(), "voltage must have dtype float32"),
        (7, lambda x: x[None], "adaptation must have 2 dimensions, not 3"),
    ],
)
def test_mistakes_name_the_argument(place, change, message):
    inputs, numbers = problem(False)
    phase_run(*inputs, **numbers)
    inputs[place] = change(inputs[place])
    with pytest.raises(ValueError, match=message):
        phase_run(*inputs, **numbers)


@pytest.mark.parametrize("steps", [0, 17])
def test_the_number_of_steps_is_bounded(steps):
    inputs, numbers = problem(False, steps)
    with pytest.raises(ValueError, match=f"steps must be from 1 to 16, not {steps}"):
        phase_run(*inputs, **numbers)


@pytest.mark.parametrize("needed", [True, False])
def test_torch_library_contract(needed):
    inputs, numbers = problem(True)
    torch.library.opcheck(torch.ops.quintet.phase.default, (*(x.requires_grad_(needed) for x in inputs), *numbers.values()))
