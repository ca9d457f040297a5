"""Memory of one update against the tokens it learns from: backpropagation keeps every token's activity, e-prop learned online keeps none.

Each way is a process of its own, which learns from more and more tokens; what its resident memory gained since the first few is the figure.
"""

import argparse
import json
import resource
import subprocess
import sys
from typing import Any

import torch
import torch.nn.functional as F

from pipeline import rng
from pipeline.apps.neurogen import rules
from pipeline.apps.neurogen.study import Outcome
from pipeline.models.neurogen import Brain
from pipeline.models.neurogen.learning import learn_online

WAYS = ("bptt", "eprop")
LENGTHS = (8, 16, 32, 64, 128, 256, 512, 1024)
STREAMS, VOCABULARY = 8, 64
MEBIBYTE = 1 << 20


def update(brain: Brain, way: str, tokens: int) -> None:
    """The gradient of one update on so many tokens of each stream."""
    text = torch.randint(VOCABULARY, (STREAMS, tokens + 1), generator=rng.generator(0, "footprint", tokens))
    inputs, targets = text[:, :-1], text[:, 1:]
    if way == "eprop":
        learn_online(brain, inputs, targets, brain.initial_state(STREAMS))
        return
    logits, _ = brain(inputs)
    F.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()


def measure(way: str) -> list[int]:
    """Bytes that the highest resident memory gains, for each of `LENGTHS` after the first."""
    torch.set_num_threads(1)
    brain = rules.brain(VOCABULARY, way, 0).train()
    found = []
    for tokens in LENGTHS:
        update(brain, way, tokens)
        brain.zero_grad()
        found.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
    return [each - found[0] for each in found]


def run() -> Outcome:
    """Measure both ways, each in a child."""
    gained = {}
    for way in WAYS:
        done = subprocess.run([sys.executable, "-m", __name__, way], capture_output=True, text=True, check=True)
        gained[way] = json.loads(done.stdout)
    rows: list[dict[str, Any]] = [
        {"rule": way, "tokens": tokens, "bytes": each}
        for way, all_of in gained.items()
        for tokens, each in zip(LENGTHS, all_of, strict=True)
    ]
    lines = {w: [[(float(t), each / MEBIBYTE) for t, each in zip(LENGTHS, g, strict=True)]] for w, g in gained.items()}
    summary = [{"rule": way, **{f"{t:,}": each / MEBIBYTE for t, each in zip(LENGTHS, g, strict=True)}} for way, g in gained.items()]
    title = f"MiB that the peak of memory gains over an update on {LENGTHS[0]} tokens, by the tokens of each of {STREAMS} streams"
    return Outcome(title, rows, summary, ("tokens of an update", "peak of memory (MiB)"), lines, {}, logarithmic=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=WAYS)
    print(json.dumps(measure(parser.parse_args().way)))
