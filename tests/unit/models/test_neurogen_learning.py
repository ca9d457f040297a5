"""The three rules by which a brain learns."""

import math

import pytest
import torch
import torch.nn.functional as F

from pipeline.models.neurogen.learning import RULES
from tests.unit.models.brains import VOCABULARY, brain, text


def gradients(module, tokens, rule: str) -> dict[str, torch.Tensor]:
    """Of the connections' weights."""
    module.config["learning"] = rule
    module.zero_grad()
    logits, _ = module(tokens[:, :-1])
    F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
    return {name: linear.weight.grad.clone() for name, linear in module.wiring.items()}


def angle(a: torch.Tensor, b: torch.Tensor) -> float:
    return math.degrees(math.acos(F.cosine_similarity(a.flatten(), b.flatten(), 0).clamp(-1, 1).item()))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_eprop_points_where_backpropagation_through_time_points(seed):
    module, tokens = brain(seed).train(), text(8, 17, seed=5)
    exact, online = (gradients(module, tokens, rule) for rule in ("bptt", "eprop"))
    assert angle(*(torch.cat([g.flatten() for g in each.values()]) for each in (exact, online))) < 30
    assert angle(exact["prefrontal_prefrontal"], online["prefrontal_prefrontal"]) < 30  # 45 without traces


def test_eprop_of_one_token_is_exact():
    module, tokens = brain().train(), text(8, 2)
    exact, online = (gradients(module, tokens, rule) for rule in ("bptt", "eprop"))
    for name, gradient in exact.items():
        torch.testing.assert_close(online[name], gradient, atol=1e-7, rtol=1e-3)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_learns_more_than_how_often_tokens_come(rule):
    module = brain(learning=rule, context=7).train()
    stream = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.02)
    first = {name: linear.weight.detach().clone() for name, linear in module.wiring.items()}
    losses = []
    for _ in range(30 if rule == "eprop" else 60):
        start, jumps = (torch.randint(low, high, (16, n), generator=stream) for low, high, n in ((0, VOCABULARY, 1), (1, 3, 7)))
        tokens = torch.cat((start, jumps), 1).cumsum(1) % VOCABULARY  # each is the one before it and 1 or 2, and all are as frequent
        logits, _ = module(tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        (loss + module.penalty).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < math.log(VOCABULARY) - (0.05 if rule == "three_factor" else 0.2)
    changed = {name for name, linear in module.wiring.items() if not torch.equal(linear.weight, first[name])}
    assert {"prefrontal_prefrontal", "thalamus_wernicke", "prefrontal_broca"} <= changed


@pytest.mark.parametrize("rule", RULES)
def test_absent_synapses_learn_by_no_rule(rule):
    module = brain(density=0.25).train()
    absent = {name: linear.weight == 0 for name, linear in module.wiring.items()}
    module.config["learning"] = rule
    logits, _ = module(text(4, 6))
    logits.square().sum().backward()
    for name, linear in module.wiring.items():
        changed = linear.weight if linear.weight.grad is None else linear.weight.grad
        assert not changed[absent[name]].any()


def test_training_at_few_levels_is_by_backpropagation():
    module, tokens = brain(learning="eprop").train(), text(4, 6)
    torch.nn.utils.parametrize.register_parametrization(module.wiring["thalamus_wernicke"], "weight", torch.nn.Identity())
    logits, _ = module(tokens)
    logits.sum().backward()
    assert module.wiring["thalamus_wernicke"].parametrizations.weight.original.grad is not None
