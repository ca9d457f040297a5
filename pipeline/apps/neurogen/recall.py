"""Recall: cues in a stream of random symbols, and what followed each cue the last time, asked for again 1 to 50 tokens later.

A sequence has a few cues, each bound to a symbol of the sequence's own. Where a cue comes, its symbol follows; all other symbols are
random. So nothing can be known of any token but of one after a cue that was there before, and the loss is taken there alone. Two nets
learn it: a whole brain, and one whose hippocampus reaches nothing. The lag is how many tokens lie between a symbol and its return.
"""

import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import rng
from pipeline.apps.neurogen.study import Outcome
from pipeline.models import neurogen
from pipeline.models.neurogen import Brain, Lesions
from pipeline.progress import Bar
from pipeline.schema.families import NeuroGen

SYMBOLS, CUES = 8, 4
LENGTH = 64
OFTEN = 0.2
"""Chance of a cue, in training."""
LAGS = (1, 2, 3, 5, 8, 12, 18, 25, 35, 50)
JUDGED = 256
"""Sequences for each lag."""
STREAMS, STEPS = 64, 150
CHANCE = 1 / SYMBOLS
SIZES = {"thalamus": 32, "wernicke": 64, "hippocampus": 64, "prefrontal": 64, "basal_ganglia": 32, "broca": 64, "key_size": 32}
RATE, BETAS, WARM_UP, CLIP = 0.012, (0.9, 0.98), 20, 0.5


class Task(NamedTuple):
    """Tokens [B, T], and where the loss is taken [B, T - 1]: after which of them the next can be known."""

    tokens: Tensor
    known: Tensor


def lessons(streams: int, chance: torch.Generator) -> Task:
    """Sequences to learn from: cues at random places."""
    tokens = torch.randint(SYMBOLS, (streams, LENGTH), generator=chance)
    bound = torch.randint(SYMBOLS, (streams, CUES), generator=chance)
    cue = torch.randint(CUES, (streams, LENGTH), generator=chance)
    comes = torch.rand(streams, LENGTH, generator=chance) < OFTEN
    known = torch.zeros(streams, LENGTH - 1, dtype=torch.bool)
    seen = torch.zeros(streams, CUES, dtype=torch.bool)
    free = torch.ones(streams, dtype=torch.bool)
    for t in range(LENGTH - 1):
        rows = (comes[:, t] & free).nonzero()[:, 0]
        which = cue[rows, t]
        tokens[rows, t], tokens[rows, t + 1] = SYMBOLS + which, bound[rows, which]
        known[rows, t] = seen[rows, which]
        seen[rows, which] = True
        free = torch.ones_like(free).index_fill(0, rows, False)
    return Task(tokens, known)


def exam(lag: int, count: int, chance: torch.Generator) -> Tensor:
    """Tokens [B, lag + 2]: a cue, its symbol, lag - 1 random symbols, and the cue again, after which the symbol is to come."""
    tokens = torch.randint(SYMBOLS, (count, lag + 2), generator=chance)
    tokens[:, 0] = tokens[:, -1] = SYMBOLS + torch.randint(CUES, (count,), generator=chance)
    return tokens


def train(seed: int, whole: bool, steps: int, advance: Callable[[float], None]) -> Brain:
    """A brain that has learned; unless it is `whole`, its hippocampus never reaches the prefrontal cortex."""
    block = NeuroGen.model_validate({"context": LENGTH, **SIZES})
    brain = neurogen.build(neurogen.configuration(block, SYMBOLS + CUES, None, {}))
    neurogen.initialize(brain, seed)
    if not whole:
        voice: Any = brain.wiring["hippocampus_prefrontal"]
        voice.weight.detach().zero_()
        voice.weight.requires_grad_(False)
    parameters = [parameter for parameter in brain.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=BETAS, weight_decay=0.0, fused=True)
    chance = rng.generator(seed, "recall", "lessons")
    brain.train()
    for step in range(steps):
        task = lessons(STREAMS, chance)
        logits, _ = brain(task.tokens[:, :-1])
        loss = F.cross_entropy(logits[task.known], task.tokens[:, 1:][task.known])
        assert brain.penalty is not None
        (loss + brain.penalty).backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min((step + 1) / WARM_UP, max(0.03, 1 - step / steps) * 1.5, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        advance(loss.item())
    return brain.eval()


@torch.no_grad()
def accuracy(brain: Brain, lag: int, seed: int) -> float:
    """Share of symbols that the brain finds likeliest when they are to come back."""
    tokens = exam(lag, JUDGED, rng.generator(seed, "recall", "exam", lag))
    logits, _ = brain(tokens)
    return float((logits[:, -1, :SYMBOLS].argmax(-1) == tokens[:, 1]).double().mean())


def run(seeds: int, steps: int = STEPS) -> Outcome:
    """Train both nets for each seed, and examine them."""
    nets: dict[str, list[dict[int, float]]] = {"whole": [], "hippocampus silenced": [], "never had a hippocampus": []}
    with Bar("recall", 2 * seeds * steps, "steps") as bar:
        for seed in range(seeds):
            whole, without = (train(seed, kind, steps, lambda loss: bar.advance(1, loss=loss)) for kind in (True, False))
            nets["whole"].append({lag: accuracy(whole, lag, seed) for lag in LAGS})
            whole.lesions = Lesions(modules={"hippocampus": 0.0})
            nets["hippocampus silenced"].append({lag: accuracy(whole, lag, seed) for lag in LAGS})
            nets["never had a hippocampus"].append({lag: accuracy(without, lag, seed) for lag in LAGS})
    rows = [
        {"net": net, "seed": seed, "lag": lag, "accuracy": share}
        for net, found in nets.items()
        for seed, shares in enumerate(found)
        for lag, share in shares.items()
    ]
    lines = {net: [[(float(lag), share) for lag, share in shares.items()] for shares in found] for net, found in nets.items()}
    summary = [{"net": net, **{f"{lag}": statistics.fmean(shares[lag] for shares in found) for lag in LAGS}} for net, found in nets.items()]
    title = f"share of symbols recalled, by the lag in tokens; {seeds} seeds, {JUDGED} sequences a lag; chance is {CHANCE:.3f}"
    return Outcome(title, rows, summary, ("lag (tokens)", "share recalled"), lines, {"chance": CHANCE})
