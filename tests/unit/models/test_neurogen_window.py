"""The brain's window in native calls against the cycle that defines it: at every level of instructions, for any rows, keys and threads."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.models.neurogen import anatomy
from pipeline.models.neurogen.brain import Brain
from pipeline.ops import brain as window_ops
from pipeline.ops import native
from tests.unit.models.brains import SIZES, brain, text

STEPS = {"sensation": 2, "perception": 4, "integration": 3, "selection": 1, "action": 4}
WIDE = {"thalamus": 16, "wernicke": 80, "hippocampus": 48, "prefrontal": 96, "basal_ganglia": 64, "broca": 32}
LEVELS = native.module().levels()


@pytest.fixture
def level():
    """`level(name)` chooses a level until the test's end."""
    before = native.module().level()
    yield native.module().use_level
    native.module().use_level(before)


@pytest.fixture
def threads():
    """`threads(n)` until the test's end."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def whole(module: Brain, tokens: torch.Tensor, state):
    """Everything that a training step sees: logits, the state after it, the gradients of all parameters."""
    module.zero_grad()
    logits, after = module(tokens[:, :-1], state)
    (F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()) + module.penalty).backward()
    return logits.detach(), *after, *(parameter.grad.clone() for parameter in module.parameters())


def warm(module: Brain, rows: int):
    with torch.no_grad():
        return module.train()(text(rows, 6, seed=1))[1]


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize(
    "rows, changes",
    [
        (1, {"phase_steps": STEPS}),
        (3, {"key_size": 5}),
        (4, {"phase_steps": dict.fromkeys(anatomy.PHASES, 2)}),
        (16, {"key_size": 33, "neurons": WIDE}),
        (17, {"phase_steps": STEPS, "vocab_size": 37}),
    ],
)
def test_the_window_computes_what_the_cycle_computes(level, name, rows, changes, monkeypatch):
    level(name)
    module, tokens, results = brain(**changes), text(rows, 10), []
    state = warm(module, rows)
    for by_window in (True, False):
        monkeypatch.setattr(Brain, "_can_by_window", lambda *_, chosen=by_window: chosen)
        results.append(whole(module, tokens, state))
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("rows", [3, 17, 70])
def test_levels_and_threads_change_no_byte(level, threads, rows):
    module, tokens, results = brain(key_size=5, phase_steps=STEPS), text(rows, 7), []
    state = warm(module, rows)
    for name in LEVELS:
        for count in (1, 2, 3):
            level(name)
            threads(count)
            rates, levels, after = module._by_window(tokens, state)
            sum(rate.square().sum() for rate in rates.values()).backward()
            results.append((*rates.values(), levels, *after, module.neurons["broca"].gain.grad, module.embed_tokens.weight.grad))
            results[-1] = [x.detach().clone() for x in results[-1]]
            module.zero_grad()
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("wanted", [("thalamus",), ("hippocampus", "broca"), ("prefrontal",)])
def test_modules_that_no_loss_asks_for_get_no_gradient(wanted):
    module, tokens, results = brain(phase_steps=STEPS), text(3, 8), []
    for run in (module._by_window, module.by_cycle):
        rates, _, _ = run(tokens, warm(module, 3))
        loss = sum((rates[name] * torch.linspace(-1, 1, SIZES[name])).sum() for name in wanted)
        results.append(torch.autograd.grad(loss, list(module.parameters()), allow_unused=True))
    for got, want, (name, parameter) in zip(*results, module.named_parameters(), strict=True):
        missing = torch.zeros_like(parameter)
        torch.testing.assert_close(missing if got is None else got, missing if want is None else want, atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("tokens", lambda x: x + 1000, "tokens holds 10.., which must be from 0 to 10"),
        ("tokens", lambda x: x - 1000, "tokens holds -9.., which must be from 0 to 10"),
        ("tokens", lambda x: x.int(), "tokens must have dtype int64"),
        ("drive", lambda x: x[:, :2], "drive must have size 3 in dimension 1, not 2"),
        ("wernicke", lambda x: x[:-1], "wernicke must have size 144 in dimension 0, not 143"),
        ("head", lambda x: x[:, :16], "head must have size 48 in dimension 1, not 16"),
        ("retention", lambda x: x.double(), "retention must have dtype float32"),
        ("plasticity", lambda x: x[:2], "plasticity must have size 3 in dimension 0, not 2"),
    ],
)
def test_mistakes_name_the_tensor(name, change, message, monkeypatch):
    module, seen = brain(), []
    forward = window_ops.forward
    monkeypatch.setattr(window_ops, "forward", lambda window, kept: (seen.append((window, kept)), forward(window, kept)))
    module(text())
    window, kept = seen[0]
    wrong = window._replace(inputs=window.inputs | {name: change(window.inputs[name])})
    with pytest.raises(ValueError, match=message):
        forward(wrong, kept)
    with pytest.raises(ValueError, match="memory must have size 13 in dimension 0, not 12"):
        forward(window, kept | {"memory": kept["memory"][1:]})


@pytest.mark.parametrize(
    "change, message",
    [
        ({"neurons": [32, 40, 32, 48, 16, 48]}, "wernicke must have a multiple of 16 neurons, not 40"),
        ({"steps": [1, 1, 1, 17, 1, 1]}, "steps of prefrontal must be from 1 to 16, not 17"),
        ({"steps": [1, 1, 1]}, "neurons and steps must have a number for each module"),
    ],
)
def test_sizes_are_checked(change, message):
    window = window_ops.Window(list(SIZES.values()), [1] * 6, {}, {})
    numbers = dict.fromkeys(("rho", "beta", "height", "epsilon", "key_threshold", "slack"), 1.0)
    with pytest.raises(ValueError, match=message):
        window_ops.forward(window._replace(numbers=numbers, **change), {})
