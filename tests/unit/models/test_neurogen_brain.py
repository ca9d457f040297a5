"""The brain: what it computes before it has learned, what it depends on, its gradients, its lesions."""

import math

import pytest
import torch
import torch.nn.functional as F

from pipeline.models.neurogen import anatomy
from pipeline.models.neurogen.brain import BAND, Brain
from pipeline.models.neurogen.memory import Memory
from tests.unit.models.brains import SIZES, VOCABULARY, brain, filled, text

STEPS = {"sensation": 2, "perception": 4, "integration": 3, "selection": 1, "action": 4}


def learn(module: Brain, tokens: torch.Tensor, steps: int, rate: float = 0.02) -> float:
    """Train on the same rows again and again; the last loss."""
    module.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate, betas=(0.9, 0.98))
    for _ in range(steps):
        logits, _ = module(tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        (loss + module.penalty).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    module.eval()
    return loss.item()


@pytest.fixture(scope="module")
def trained() -> tuple[Brain, torch.Tensor, float]:
    module, tokens = brain(), text(8, 17)
    return module, tokens, learn(module, tokens, 120)


@torch.no_grad()
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("fan_in", [None, 16])
def test_an_untrained_brain_knows_nothing(seed, fan_in):
    tokens = text(16, 33)
    logits, _ = brain(seed, fan_in=fan_in)(tokens[:, :-1])
    assert F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).item() == pytest.approx(math.log(VOCABULARY), abs=0.1)


@torch.no_grad()
def test_an_untrained_brain_without_input_is_silent():
    module = brain()
    module.record = True
    module(text())
    assert module.recording.rates.sum() > 0
    module.embed_tokens.weight.zero_()
    module(text())
    assert module.recording.rates.sum() == 0


@torch.no_grad()
def test_the_past_changes_the_logits_and_the_future_never():
    module, tokens = brain(), text()
    logits, _ = module(tokens)
    for place in (0, 5):
        changed = tokens.clone()
        changed[:, place] = (changed[:, place] + 1) % VOCABULARY
        other, _ = module(changed)
        assert torch.equal(other[:, :place], logits[:, :place])
        assert not torch.equal(other[:, place], logits[:, place])
        assert not torch.equal(other[:, -1], logits[:, -1])


@torch.no_grad()
@pytest.mark.parametrize("steps", [1, 2])
def test_a_text_in_pieces_is_the_text(steps):
    module, tokens = brain(phase_steps=dict.fromkeys(anatomy.PHASES, steps)), text()
    whole, end = module(tokens)
    first, state = module(tokens[:, :5])
    second, state = module(tokens[:, 5:], state)
    torch.testing.assert_close(torch.cat((first, second), 1), whole)
    for part, of_whole in zip(state, end, strict=True):
        torch.testing.assert_close(part, of_whole)


def test_gradients_agree_with_differences_where_spikes_are_smooth():
    module, tokens = brain().double(), text(2, 6)
    for part in (module.memory, *module.neurons.values()):
        part.smooth = True

    def loss() -> torch.Tensor:
        logits, _ = module(tokens[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    loss().backward()
    stream = torch.Generator().manual_seed(0)
    for name, parameter in module.named_parameters():
        direction = torch.randn(parameter.shape, dtype=torch.float64, generator=stream)
        with torch.no_grad():
            losses = []
            for step in (1e-5, -1e-5):
                parameter += step * direction
                losses.append(loss().item())
                parameter -= step * direction
        wanted, got = (losses[0] - losses[1]) / 2e-5, (parameter.grad * direction).sum().item()
        assert got == pytest.approx(wanted, rel=1e-4, abs=1e-8), name
        assert got != 0 or name.endswith("serotonin"), name


def test_it_learns_and_its_neurons_keep_to_their_band(trained):
    module, tokens, loss = trained
    assert loss < 1.6 < math.log(VOCABULARY) - 0.7
    module.record = True
    with torch.no_grad():
        module(tokens)
    module.record = False
    rates = module.recording.rates.mean((0, 1)).split(list(SIZES.values()))
    for name, rate in zip(SIZES, rates, strict=True):
        assert BAND[0] < rate.mean() < 2 * BAND[1], name


@torch.no_grad()
@pytest.mark.parametrize("module_name", anatomy.MODULES)
def test_a_lesion_of_a_module_changes_the_logits(trained, module_name):
    module, tokens, _ = trained
    logits, _ = module(tokens)
    for value in (0.0, torch.full((SIZES[module_name],), 0.1)):
        module.lesions.modules = {module_name: value}
        hurt, _ = module(tokens)
        module.lesions.modules = {}
        assert not torch.equal(hurt, logits)
    assert torch.equal(module(tokens)[0], logits)


@torch.no_grad()
@pytest.mark.parametrize("connection", anatomy.CONNECTIONS, ids=lambda c: c.name)
def test_a_lesion_of_a_connection_is_as_if_its_weights_were_zero(trained, connection):
    module, tokens, _ = trained
    logits, _ = module(tokens)
    module.lesions.connections = {connection.name: 0.0}
    hurt, _ = module(tokens)
    module.lesions.connections = {}
    weight = module.wiring[connection.name].weight
    kept = weight.clone()
    weight.zero_()
    without, _ = module(tokens)
    weight.copy_(kept)
    assert torch.equal(hurt, without) and not torch.equal(hurt, logits)


@torch.no_grad()
def test_a_sparse_brain_is_a_dense_one_with_zeros_where_it_has_no_synapses():
    module, tokens = brain(fan_in=16), text(4, 9)
    logits, state = module(tokens)
    for got, want in zip((logits, *state), (lambda found: (found[0], *found[1]))(filled(module)(tokens)), strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)


def test_statistics_are_of_what_the_last_training_call_recorded():
    module = brain(phase_steps=STEPS)
    assert module.statistics() == {}
    module.record = True
    module.train()(text())
    told, seen = module.statistics(), module.recording
    means = dict(zip(SIZES, seen.rates.mean((0, 1)).split(list(SIZES.values())), strict=True))
    for name, mean in means.items():
        assert told[f"rate_{name}"] == pytest.approx(mean.mean().item(), rel=1e-5) and told[f"rate_{name}"] > 0
    assert told["spikes_sensation"] == pytest.approx(2 * means["thalamus"].sum().item(), rel=1e-5)
    assert told["spikes_integration"] == pytest.approx(3 * (means["hippocampus"].sum() + means["prefrontal"].sum()).item(), rel=1e-5)
    for place, name in enumerate(("dopamine", "serotonin", "baseline")):
        assert told[name] == pytest.approx(seen.modulators[:, :, place].mean().item(), rel=1e-5)
    module.eval()(text(seed=1))
    assert module.statistics() == told


def test_a_window_without_its_memory_computes_what_the_memory_does():
    """Recollection, which trains sparse brains, against the memory at each token; gradients too."""
    module, tokens, results = brain(fan_in=16).train(), text(4, 10), []
    with torch.no_grad():
        _, before = module(text(4, 6, seed=1))
    assert before.memory.any()
    for kind in (Memory.window, lambda *_: None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Memory, "window", kind)
            module.zero_grad()
            logits, after = module(tokens[:, :-1], before)
            F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        results.append((logits, *after, *(parameter.grad.clone() for parameter in module.parameters())))
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-3)
