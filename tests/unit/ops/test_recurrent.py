import itertools

import pytest
import torch

from pipeline.ops import native
from pipeline.ops import reference_recurrent as reference
from pipeline.ops.recurrent import recurrent_run

EVERY_KIND = [
    {"neurons": 3, "rows": 4, "steps": 5, "inputs": 2},
    {"neurons": 17, "rows": 7, "steps": 6, "frames": 3, "every": 2, "collect": 2, "state": True},
    {"neurons": 129, "rows": 5, "steps": 9, "frames": 2, "inputs": 100, "every": 3, "hold": True, "collect": 1, "dropout": 0.1, "seed": 77},
    {"neurons": 64, "rows": 13, "steps": 20, "segment": 4, "dropout": 0.2, "seed": -5, "collect": 3},
    {"neurons": 80, "rows": 3, "steps": 7, "segment": 50, "collect": 7},
    {"neurons": 70, "rows": 300, "steps": 5, "collect": 2},
    {"neurons": 130, "rows": 8, "steps": 7, "activation": "gelu", "state": True, "dropout": 0.3},
    {"neurons": 130, "rows": 9, "steps": 11, "activation": "silu", "segment": 3, "state": True, "dropout": 0.1, "collect": 1},
    {"neurons": 1100, "rows": 2, "steps": 2, "collect": 1},
]
LEVELS = ["scalar", "avx2", "avx512"]


@pytest.fixture(autouse=True)
def as_before():
    level, threads = native.module().level(), torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    native.module().use_level(level)
    torch.set_num_threads(threads)


def problem(neurons, rows, steps, frames=1, inputs=None, state=False, **options):
    """Random tensors of such a run, and its options."""
    random = torch.Generator().manual_seed(neurons + rows)
    normal = lambda *shape: torch.randn(*shape, generator=random)  # noqa: E731
    tensors = {
        "drive": normal(rows, frames, inputs or neurons),
        "weight": normal(neurons, neurons) / neurons**0.5,
        "bias": 0.1 * normal(neurons),
        "gain": 1 + 0.2 * normal(neurons),
    }
    if state:
        tensors["state"] = normal(rows, neurons)
    if inputs:
        options["places"] = torch.randperm(neurons, generator=random)[:inputs]
    return tensors, {"steps": steps, **options}


def results(run, tensors, options, dtype=torch.float32):
    """Final state, collected states, and the gradients of a random linear loss of both."""
    tensors = {name: tensor.to(dtype).requires_grad_() for name, tensor in tensors.items()}
    final, states = run(**tensors, **options)
    random = torch.Generator().manual_seed(0)
    loss = sum((out * torch.randn(out.shape, generator=random).to(dtype)).sum() for out in (final, states))
    return [final.detach(), states.detach(), *torch.autograd.grad(loss, list(tensors.values()), materialize_grads=True)]


def definition(tensors, options):
    """The same in float64 by the definition, which knows no segments."""
    options = {name: value for name, value in options.items() if name != "segment"}
    return results(reference.recurrent_run, tensors, options, torch.float64)


def assert_near(found, expected, tolerance=3e-5):
    for f, e in zip(found, expected, strict=True):
        assert f.shape == e.shape
        torch.testing.assert_close(f.double(), e, rtol=0, atol=tolerance * max(1.0, float(e.abs().max()) if e.numel() else 1.0))


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_outputs_and_gradients_equal_the_definition(kind):
    tensors, options = problem(**kind)
    assert_near(results(recurrent_run, tensors, options), definition(tensors, options))


@pytest.mark.parametrize("activation", list(reference.ACTIVATIONS))
@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_every_activation(activation, dropout):
    tensors, options = problem(50, 3, 4, frames=4, collect=1, activation=activation, dropout=dropout, seed=3)
    tensors["drive"] *= 3
    assert_near(results(recurrent_run, tensors, options), definition(tensors, options))


@pytest.mark.parametrize(("neurons", "rows"), [(n, b) for n in (1, 2, 16, 63, 65, 129) for b in (1, 6, 17)])
def test_odd_sizes(neurons, rows):
    tensors, options = problem(neurons, rows, 3, frames=3, collect=1)
    assert_near(results(recurrent_run, tensors, options), definition(tensors, options), 1e-4 if neurons == 1 else 3e-5)


@pytest.mark.parametrize("activation", list(reference.ACTIVATIONS))
def test_activations_far_out(activation):
    """Neuron by neuron over a wide range: the accuracy of the polynomials, seen through one step without any product."""
    x = torch.linspace(-30, 30, 4001)
    drive = torch.stack([x, torch.full_like(x, 7.0)], 1)[:, None]  # the second neuron keeps the norm from 0
    zero, one = torch.zeros(2), torch.ones(2)
    found, _ = recurrent_run(drive, torch.zeros(2, 2), zero, one, steps=1, activation=activation)
    expected, _ = reference.recurrent_run(
        drive.double(), torch.zeros(2, 2).double(), zero.double(), one.double(), steps=1, activation=activation
    )
    torch.testing.assert_close(found.double(), expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("kind", EVERY_KIND[:-1])
def test_levels_and_threads_give_the_same_bytes(kind):
    tensors, options = problem(**kind)
    native.module().use_level("scalar")
    expected = results(recurrent_run, tensors, options)
    for level, threads in itertools.product(native.module().levels(), [1, 2, 3]):
        native.module().use_level(level)
        torch.set_num_threads(threads)
        found = results(recurrent_run, tensors, options)
        assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True)), (level, threads)


def test_a_row_does_not_depend_on_its_batch():
    tensors, options = problem(100, 11, 6, dropout=0.5, seed=1)
    whole, _ = recurrent_run(**tensors, **options)
    part, _ = recurrent_run(**tensors | {"drive": tensors["drive"][:3]}, **options)
    assert torch.equal(whole[:3], part)


def test_philox_known_answers():
    """Of the Random123 distribution: kat_vectors, philox4x32-10, for counter and key zero."""
    zero = torch.zeros((), dtype=torch.int64)
    assert [f"{int(word):08x}" for word in reference.philox(zero, zero, zero, 0)] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]


def test_dropout_mask_of_the_kernel_is_the_definitions():
    """Identity of a constant: a state is zero exactly where dropout struck."""
    kept = []
    run = {"steps": 3, "activation": "identity", "dropout": 0.4, "seed": 2**63 + 12345, "collect": 1}
    _, states = recurrent_run(torch.zeros(9, 0, 150), torch.zeros(150, 150), torch.ones(150), torch.ones(150), **run)
    for step in range(3):
        mask = reference.dropout_mask(run["seed"], step, 9, 150, 0.4)
        assert torch.equal(states[:, step] != 0, mask)
        kept.append(mask)
    assert abs(torch.stack(kept).double().mean() - 0.6) < 0.03
    assert not torch.equal(kept[0], kept[1])
    _, others = recurrent_run(torch.zeros(9, 0, 150), torch.zeros(150, 150), torch.ones(150), torch.ones(150), **run | {"seed": 5})
    assert not torch.equal(others != 0, states != 0)


def test_segments_change_memory_but_no_bit():
    tensors, options = problem(96, 5, 23, frames=4, every=5, collect=4, dropout=0.1, activation="silu")
    expected = results(recurrent_run, tensors, options)
    for segment in (1, 5, 22, 23, 99):
        found = results(recurrent_run, tensors, options | {"segment": segment})
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
        assert_near(found, [e.double() for e in expected], 1e-6)
    kept = [
        torch.ops.quintet.recurrent(*arguments_of(tensors), torch.tensor(0), [23, 5, 0, 0, segment, 1], "silu", 0.1, 1e-7)[2].numel()
        for segment in (0, 5)
    ]
    assert kept[1] * 5 < kept[0]


def arguments_of(tensors, state=None, places=None):
    return tensors["weight"], tensors["bias"], tensors["gain"], state, tensors["drive"], places


def test_empty_batch_and_no_input():
    tensors, options = problem(20, 0, 3, collect=1, state=True)
    found = results(recurrent_run, tensors, options)
    assert found[0].shape == (0, 20) and found[1].shape == (0, 3, 20)
    assert all(not g.any() for g in found[2:])
    tensors, options = problem(20, 4, 3, frames=0)
    assert_near(results(recurrent_run, tensors, options), definition(tensors, options))


def test_inputs_may_lie_anyhow():
    tensors, options = problem(40, 6, 3, frames=2, inputs=8, state=True)
    lying = {
        "drive": tensors["drive"].transpose(0, 2).contiguous().transpose(0, 2),
        "weight": tensors["weight"].T.contiguous().T,
        "bias": torch.stack([tensors["bias"]] * 2, 1)[:, 0],
        "gain": tensors["gain"].repeat_interleave(3)[::3],
        "state": tensors["state"].T.contiguous().T,
    }
    assert not any(tensor.is_contiguous() for tensor in lying.values())
    options["places"] = options["places"].repeat_interleave(2)[::2]
    found, expected = results(recurrent_run, lying, options), results(recurrent_run, tensors, options)
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


def test_two_drives_may_meet_at_one_neuron():
    tensors, options = problem(10, 3, 2, inputs=4)
    options["places"] = torch.tensor([7, 0, 7, 7])
    assert_near(results(recurrent_run, tensors, options), definition(tensors, options))


def test_not_a_number_is_not_hidden():
    for activation in reference.ACTIVATIONS:
        tensors, options = problem(20, 3, 2, activation=activation)
        tensors["drive"][1, 0, 4] = float("nan")
        final, _ = recurrent_run(**tensors, **options)
        assert final[1].isnan().all() and not final[[0, 2]].isnan().any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drive": torch.zeros(2, 1, 4)}, "drive must have size 5 in dimension 2, not 4"),
        ({"drive": torch.zeros(2, 5)}, "drive must have 3 dimensions, not 2"),
        ({"drive": torch.zeros(2, 1, 5, dtype=torch.float64)}, "drive must have dtype float32"),
        ({"drive": torch.zeros(2, 4, 5)}, "drive has 4 frames, one every 1 steps, which do not fit into 3 steps"),
        ({"weight": torch.zeros(5, 4)}, "weight must have size 5 in dimension 1, not 4"),
        ({"weight": torch.zeros(0, 0)}, "weight must have at least one row"),
        ({"bias": torch.zeros(4)}, "bias must have size 5"),
        ({"gain": torch.zeros(5, 1)}, "gain must have 1 dimensions"),
        ({"state": torch.zeros(3, 5)}, "state must have size 2 in dimension 0, not 3"),
        ({"state": torch.zeros(2, 5, dtype=torch.bfloat16)}, "state must have dtype float32"),
        ({"places": torch.tensor([0, 1, 2, 3, 5])}, r"places\[4\] = 5 must be a neuron from 0 to 4"),
        ({"places": torch.tensor([0, 1, -1, 3, 4])}, r"places\[2\] = -1"),
        ({"places": torch.tensor([0, 1])}, "places must have size 5"),
        ({"places": torch.zeros(5)}, "places must have dtype int64"),
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"every": 0}, "every must be at least 1"),
        ({"collect": -1}, "collect must be at least 0"),
        ({"segment": -2}, "segment must be at least 0"),
        ({"activation": "swish"}, "activation must be one of identity, relu, .*, not 'swish'"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"dropout": float("nan")}, r"dropout must be in \[0, 1\)"),
        ({"epsilon": 0.0}, "epsilon must be above 0"),
        ({"seed": torch.zeros(2, dtype=torch.int64)}, "seed must have 0 dimensions"),
    ],
)
def test_mistakes_name_the_argument(change, message):
    good = {"drive": torch.zeros(2, 1, 5), "weight": torch.zeros(5, 5), "bias": torch.zeros(5), "gain": torch.ones(5), "steps": 3}
    recurrent_run(**good)
    with pytest.raises(ValueError, match=message):
        recurrent_run(**good | change)


def test_backward_refuses_what_it_did_not_keep():
    tensors, _ = problem(20, 3, 4)
    run = (*arguments_of(tensors), torch.tensor(0), [4, 1, 0, 0, 0, 1], "tanh", 0.0, 1e-7)
    final, _, values, scales, masks = torch.ops.quintet.recurrent(*run)
    torch.ops.quintet.recurrent_backward(*run, values, scales, masks, final, None)
    for kept in ((values[1:], scales, masks), (values, scales[1:], masks), (values, scales, scales.long())):
        with pytest.raises(ValueError, match="must have size"):
            torch.ops.quintet.recurrent_backward(*run, *kept, final, None)
    with pytest.raises(ValueError, match="final_gradient must have size"):
        torch.ops.quintet.recurrent_backward(*run, values, scales, masks, final[1:], None)


@pytest.mark.parametrize("plan", [[4, 1, 0, 2, 0, 1], [4, 2, 1, 0, 2, 1], [4, 1, 0, 1, 0, 0]])
def test_torch_library_contract(plan):
    tensors, _ = problem(20, 3, 4, state=True)
    arguments = [x.requires_grad_(bool(plan[5])) for x in tensors.values()]
    drive, weight, bias, gain, state = arguments
    places = torch.arange(20)
    torch.library.opcheck(
        torch.ops.quintet.recurrent.default, (weight, bias, gain, state, drive, places, torch.tensor(1), plan, "tanh", 0.1, 1e-7)
    )


def test_compile_sees_one_operation():
    tensors, options = problem(20, 3, 4, dropout=0.1)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def loss(drive, weight, bias, gain, seed):
        return recurrent_run(drive, weight, bias, gain, seed=seed, **options)[0].square().sum()

    seed = torch.tensor(9)
    weight = tensors["weight"].clone().requires_grad_()
    compiled = torch.autograd.grad(loss(tensors["drive"], weight, tensors["bias"], tensors["gain"], seed), weight)
    eager = torch.autograd.grad(recurrent_run(**tensors | {"weight": weight}, seed=seed, **options)[0].square().sum(), weight)
    assert torch.equal(compiled[0], eager[0])
