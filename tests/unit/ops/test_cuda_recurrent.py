"""The recurrent run on a GPU against the definition in float64 (the kernels are also tested without a GPU, in C++)."""

import pytest
import torch

from pipeline.errors import UserError
from pipeline.ops import native
from pipeline.ops import reference_recurrent as reference
from pipeline.ops.recurrent import recurrent_run
from tests.unit.ops import test_recurrent as on_cpu

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def run_on_gpu(tensors, options):
    """`results` of the CPU's tests with everything on the GPU, brought back."""
    tensors = {name: tensor.cuda() for name, tensor in tensors.items()}
    options = {name: value.cuda() if isinstance(value, torch.Tensor) else value for name, value in options.items()}

    def run(**arguments):
        return (each.cpu() for each in recurrent_run(**arguments))

    return [each.cpu() for each in on_cpu.results(run, tensors, options)]


SIZES_THAT_DO_NOT_STAY_ON_CHIP = [
    {"neurons": 2500, "rows": 5, "steps": 3, "collect": 1},
    {"neurons": 3001, "rows": 40, "steps": 2, "collect": 1},
]


@pytest.mark.parametrize("kind", on_cpu.EVERY_KIND + SIZES_THAT_DO_NOT_STAY_ON_CHIP)
def test_outputs_and_gradients_equal_the_definition(kind):
    tensors, options = on_cpu.problem(**kind)
    on_cpu.assert_near(run_on_gpu(tensors, options), on_cpu.definition(tensors, options))


@pytest.mark.parametrize("rows", [1, 32, 77, 512])
def test_a_thousand_neurons(rows):
    tensors, options = on_cpu.problem(1024, rows, 16, dropout=0.1)
    on_cpu.assert_near(run_on_gpu(tensors, options), on_cpu.definition(tensors, options), 1e-4)


@pytest.mark.parametrize("activation", list(reference.ACTIVATIONS))
@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_every_activation(activation, dropout):
    tensors, options = on_cpu.problem(50, 3, 4, frames=4, collect=1, activation=activation, dropout=dropout, seed=3)
    tensors["drive"] *= 3
    on_cpu.assert_near(run_on_gpu(tensors, options), on_cpu.definition(tensors, options))


@pytest.mark.parametrize(("neurons", "rows"), [(n, b) for n in (1, 2, 16, 63, 65, 129) for b in (1, 6, 17)])
def test_odd_sizes(neurons, rows):
    tensors, options = on_cpu.problem(neurons, rows, 3, frames=3, collect=1)
    tolerance = 1e-4 if neurons == 1 else 3e-5
    on_cpu.assert_near(run_on_gpu(tensors, options), on_cpu.definition(tensors, options), tolerance)


@pytest.mark.parametrize("kind", on_cpu.EVERY_KIND + SIZES_THAT_DO_NOT_STAY_ON_CHIP[:1])
def test_two_runs_give_the_same_bytes(kind):
    tensors, options = on_cpu.problem(**kind)
    first, second = run_on_gpu(tensors, options), run_on_gpu(tensors, options)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_dropout_strikes_as_on_the_cpu():
    run = {"steps": 3, "activation": "identity", "dropout": 0.4, "seed": 2**63 + 12345, "collect": 1}
    arguments = torch.zeros(9, 0, 150), torch.zeros(150, 150), torch.ones(150), torch.ones(150)
    _, expected = recurrent_run(*arguments, **run)
    _, found = recurrent_run(*(each.cuda() for each in arguments), **run)
    assert torch.equal(found.cpu() != 0, expected != 0)
    _, again = recurrent_run(*(each.cuda() for each in arguments), **run | {"seed": torch.tensor(12345 - 2**63).cuda()})
    assert torch.equal(again, found)


def test_segments_change_memory_but_no_state():
    tensors, options = on_cpu.problem(96, 5, 23, frames=4, every=5, collect=4, dropout=0.1, activation="silu")
    expected = run_on_gpu(tensors, options)
    for segment in (1, 5, 22, 23, 99):
        found = run_on_gpu(tensors, options | {"segment": segment})
        on_cpu.assert_near(found, [each.double() for each in expected], 1e-6)


def test_empty_batch_and_no_input():
    tensors, options = on_cpu.problem(20, 0, 3, collect=1, state=True)
    found = run_on_gpu(tensors, options)
    assert found[0].shape == (0, 20) and found[1].shape == (0, 3, 20)
    assert all(not gradient.any() for gradient in found[2:])
    tensors, options = on_cpu.problem(20, 4, 3, frames=0)
    on_cpu.assert_near(run_on_gpu(tensors, options), on_cpu.definition(tensors, options))


def test_inputs_may_lie_anyhow_and_meet():
    tensors, options = on_cpu.problem(40, 6, 3, frames=2, inputs=8, state=True)
    options["places"] = torch.tensor([7, 0, 7, 39, 7, 1, 1, 2])
    lying = {
        name: tensor.mT.contiguous().mT if tensor.dim() > 1 else torch.stack([tensor] * 2, 1)[:, 0] for name, tensor in tensors.items()
    }
    assert not any(tensor.is_contiguous() for tensor in lying.values())
    found = run_on_gpu(lying, options)
    assert all(torch.equal(f, e) for f, e in zip(found, run_on_gpu(tensors, options), strict=True))
    on_cpu.assert_near(found, on_cpu.definition(tensors, options))


def test_not_a_number_is_not_hidden():
    for activation in reference.ACTIVATIONS:
        tensors, options = on_cpu.problem(20, 3, 2, activation=activation)
        tensors["drive"][1, 0, 4] = float("nan")
        final, _ = recurrent_run(**{name: tensor.cuda() for name, tensor in tensors.items()}, **options)
        assert final[1].isnan().all() and not final[[0, 2]].isnan().any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drive": torch.zeros(2, 1, 5)}, "drive must be on cuda:0"),
        ({"weight": torch.zeros(5, 5)}, "weight must be on cuda:0"),
        ({"bias": torch.zeros(5)}, "bias must be on cuda:0"),
        ({"drive": lambda: torch.zeros(2, 1, 4).cuda()}, "drive must have size 5 in dimension 2, not 4"),
        ({"weight": lambda: torch.zeros(5, 5, dtype=torch.float64).cuda()}, "weight must have dtype float32"),
        ({"state": lambda: torch.zeros(3, 5).cuda()}, "state must have size 2 in dimension 0, not 3"),
        ({"places": lambda: torch.tensor([0, 1, 2, 3, 5]).cuda()}, r"places\[4\] = 5 must be a neuron from 0 to 4"),
        ({"places": lambda: torch.tensor([0, 1, -1, 3, 4]).cuda()}, r"places\[2\] = -1"),
        ({"places": lambda: torch.tensor([0, 1]).cuda()}, "places must have size 5"),
        ({"places": lambda: torch.zeros(5).cuda()}, "places must have dtype int64"),
        ({"activation": "swish"}, "activation must be one of identity, relu, .*, not 'swish'"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
    ],
)
def test_mistakes_name_the_argument(change, message):
    shapes = {"drive": (2, 1, 5), "weight": (5, 5), "bias": (5,), "gain": (5,)}
    good = {name: torch.zeros(shape).cuda() for name, shape in shapes.items()} | {"steps": 3}
    recurrent_run(**good)
    with pytest.raises(ValueError, match=message):
        recurrent_run(**good | {name: value() if callable(value) else value for name, value in change.items()})


def test_backward_refuses_what_it_did_not_keep():
    tensors = {name: tensor.cuda() for name, tensor in on_cpu.problem(20, 3, 4)[0].items()}
    run = (*on_cpu.arguments_of(tensors), torch.tensor(0), [4, 1, 0, 0, 0, 1], "tanh", 0.0, 1e-7)
    final, _, values, scales, masks = torch.ops.quintet.recurrent(*run)
    torch.ops.quintet.recurrent_backward(*run, values, scales, masks, final, None)
    for kept in ((values[1:], scales, masks), (values, scales[1:], masks), (values, scales, scales.long())):
        with pytest.raises(ValueError, match="must have size"):
            torch.ops.quintet.recurrent_backward(*run, *kept, final, None)
    with pytest.raises(ValueError, match="final_gradient must have size"):
        torch.ops.quintet.recurrent_backward(*run, values, scales, masks, final[1:], None)


@pytest.mark.parametrize("plan", [[4, 1, 0, 2, 0, 1], [4, 2, 1, 0, 2, 1], [4, 1, 0, 1, 0, 0]])
def test_torch_library_contract(plan):
    tensors, _ = on_cpu.problem(20, 3, 4, state=True)
    drive, weight, bias, gain, state = (each.cuda().requires_grad_(bool(plan[5])) for each in tensors.values())
    places = torch.arange(20).cuda()
    torch.library.opcheck(
        torch.ops.quintet.recurrent.default, (weight, bias, gain, state, drive, places, torch.tensor(1), plan, "tanh", 0.1, 1e-7)
    )


def test_an_extension_without_cuda_says_how_to_get_it(monkeypatch):
    arguments = [torch.zeros(shape).cuda() for shape in ((2, 1, 5), (5, 5), (5,), (5,))]
    monkeypatch.delattr(native.module(), "cuda_recurrent_forward")
    with pytest.raises(UserError, match="recurrent_forward has no CUDA kernels: install nvcc"):
        recurrent_run(*arguments, steps=2)
