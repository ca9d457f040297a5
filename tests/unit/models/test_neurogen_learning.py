"""The three rules by which a brain learns."""

import math

import pytest
import torch
import torch.nn.functional as F

from pipeline.models.neurogen.learning import RULES, Eprop, learn_online
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


def test_eprop_points_where_backpropagation_through_time_points():
    whole, recurrent = [], []
    for seed in (1, 2, 3):
        module, tokens = brain(seed).train(), text(8, 17, seed=5)
        exact, online = (gradients(module, tokens, rule) for rule in ("bptt", "eprop"))
        whole.append(angle(*(torch.cat([g.flatten() for g in each.values()]) for each in (exact, online))))
        recurrent.append(angle(exact["prefrontal_prefrontal"], online["prefrontal_prefrontal"]))
    assert max(whole) < 30
    assert sum(recurrent) / 3 < 25  # 38 without eligibility traces


def test_eprop_of_one_token_is_exact():
    module, tokens = brain().train(), text(8, 2)
    exact, online = (gradients(module, tokens, rule) for rule in ("bptt", "eprop"))
    for name, gradient in exact.items():
        torch.testing.assert_close(online[name], gradient, atol=1e-7, rtol=1e-3)


def test_learning_online_is_eprop_of_the_window():
    module, tokens = brain(density=0.5).train(), text(4, 9)
    connections = gradients(module, tokens, "eprop")
    window = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
    module.zero_grad()
    loss, state = learn_online(module, tokens[:, :-1], tokens[:, 1:], module.initial_state(4))
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.grad, window[name], atol=1e-7, rtol=1e-4)
    logits, end = module(tokens[:, :-1])
    assert loss == pytest.approx(F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).item(), rel=1e-5)
    assert len(connections) == 10 and all(torch.equal(a, b) for a, b in zip(state, end, strict=True))


def test_eprop_holds_as_much_after_many_tokens_as_after_one():
    module = brain(learning="eprop").train()
    rule = Eprop(module, module.initial_state(3), tuple(p for n, p in module.named_parameters() if not n.startswith("lm_head.")))
    sizes = []
    for token in text(3, 20).unbind(1):
        rule.token(token, lambda rates: [torch.ones_like(rate) for rate in rates])
        sizes.append(rule.size())
    assert len(set(sizes)) == 1 and sizes[0] > sum(trace.nbytes for trace in rule.traces.values()) > 0
    assert not any(part.requires_grad for part in (*rule.state, *rule.traces.values(), *rule.totals))


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_learns_more_than_how_often_tokens_come(rule):
    """Each token is the one before it and 1, and all are as frequent. Three factors leave the read-out to learn: it may do so faster."""
    steps, rate = (20, 0.05) if rule == "three_factor" else (30, 0.02)
    module = brain(learning=rule, context=7).train()
    stream = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate)
    first = {name: linear.weight.detach().clone() for name, linear in module.wiring.items()}
    losses = []
    for _ in range(steps):
        tokens = (torch.randint(VOCABULARY, (16, 1), generator=stream) + torch.arange(8)) % VOCABULARY
        logits, _ = module(tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        (loss + module.penalty).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < math.log(VOCABULARY) - 0.05
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
