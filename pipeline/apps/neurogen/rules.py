"""The three rules of learning side by side: held-out loss against tokens, of small brains that read the same text in the same order."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import paths
from pipeline.apps.neurogen.study import Outcome, Points
from pipeline.data.ready import description
from pipeline.errors import UserError
from pipeline.evaluation.baselines import Bigram
from pipeline.models import neurogen
from pipeline.models.neurogen import Brain
from pipeline.models.neurogen.learning import RULES
from pipeline.schema.families import NeuroGen
from pipeline.schema.training import Training
from pipeline.training import tasks
from pipeline.training.checkpoints import Store
from pipeline.training.loop import Trainer

SIZES = {"thalamus": 32, "wernicke": 64, "hippocampus": 32, "prefrontal": 64, "basal_ganglia": 32, "broca": 64, "key_size": 16}
CONTEXT, STREAMS, STEPS = 32, 32, 200
ALONE = "read-out alone"
"""What the three-factor rule is to be compared with: frozen synapses."""
RATES = {"bptt": 0.012, "eprop": 0.012, "three_factor": 0.02, ALONE: 0.02}
JUDGED = 16384
"""Tokens of the validation split."""


class Silent:
    """Takes the curves of a training, which are read when it is over."""

    def metrics(self, values: dict[str, float], step: int) -> None: ...

    def text(self, name: str, text: str) -> None: ...


def settings(rule: str, steps: int) -> Training:
    """How each rule is trained: the same but for the rate."""
    return Training(
        steps=steps,
        batch_size=STREAMS,
        carry_state=True,
        learning_rate=RATES[rule],
        betas=(0.9, 0.98),
        schedule="wsd",
        decay_fraction=0.8,
        final_learning_rate=0.03,
        warmup_steps=min(10, steps - 1),
        weight_decay=0.0,
        gradient_clip=0.2,
        evaluate_every=max(1, steps // 8),
        validation_tokens=JUDGED,
    )


def brain(vocab_size: int, rule: str, seed: int) -> Brain:
    """A small one, new."""
    block = NeuroGen.model_validate({"context": CONTEXT, "learning": rule, **SIZES})
    module = neurogen.build(neurogen.configuration(block, vocab_size, None, {"recurrent": True}))
    neurogen.initialize(module, seed)
    return module


def task(data: str, chosen: Training, seed: int) -> tuple[tasks.Task, int]:
    """The data set's task and its vocabulary; `UserError` where it is not ready, or has no text."""
    ready = paths.ready(data)
    if not (ready / "dataset.json").exists():
        raise UserError(f"{ready} is not there: run `python -m pipeline tokenize {data}`, or name another data set by --data")
    dataset = description(ready)
    if dataset["kind"] != "language":
        raise UserError(f"--data {data} has no text but {dataset['kind']}: name a data set of the kind text")
    return tasks.of(ready, dataset, chosen, CONTEXT, seed, recurrent=True), int(dataset["vocab_size"])


def learn(data: str, way: str, seed: int, steps: int) -> Points:
    """Tokens and the held-out loss there, over a training by a rule, or of the read-out alone."""
    chosen = settings(way, steps)
    lessons, vocab_size = task(data, chosen, seed)
    module = brain(vocab_size, "bptt" if way == ALONE else way, seed)
    if way == ALONE:
        module.requires_grad_(False)
        module.lm_head.requires_grad_(True)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(module, lessons, seed, Store(Path(folder)), Silent(), f"{way}, seed {seed}")
        trainer.run()
    return [(row["tokens"], row["validation_loss"]) for row in trainer.progress.curve]


def baselines(data: str) -> dict[str, float]:
    """Held-out loss of unigram and bigram, of the same tokens."""
    lessons, vocab_size = task(data, settings("bptt", 2), 0)
    counted = Bigram.fit(np.asarray(lessons.splits["train"]), vocab_size)
    pairs = [batch for batch in lessons.whole("validation", JUDGED)]
    inputs, targets = (np.concatenate([part.flatten().numpy() for part in parts]) for parts in zip(*pairs, strict=True))
    return {
        "unigram": float(counted.unigram.losses(targets).mean()),
        "bigram": float(counted.losses(inputs, targets).mean()),
    }


def run(seeds: int, data: str, steps: int = STEPS, chosen: Sequence[str] = (*RULES, ALONE)) -> Outcome:
    """Train by each rule and the read-out alone, for each seed."""
    levels = baselines(data)
    lines = {rule: [learn(data, rule, seed, steps) for seed in range(seeds)] for rule in chosen}
    rows: list[dict[str, Any]] = [
        {"rule": rule, "seed": seed, "tokens": tokens, "loss": loss}
        for rule, curves in lines.items()
        for seed, curve in enumerate(curves)
        for tokens, loss in curve
    ]
    summary = [{"rule": name, "held-out loss": level, "least": "", "most": ""} for name, level in levels.items()]
    for rule, curves in lines.items():
        ends = [curve[-1][1] for curve in curves]
        summary.append({"rule": rule, "held-out loss": float(np.mean(ends)), "least": min(ends), "most": max(ends)})
    title = f"nats a token of {data}'s validation split after {steps * STREAMS * CONTEXT:,} tokens, {seeds} seeds"
    return Outcome(title, rows, summary, ("tokens", "held-out loss (nats a token)"), lines, levels)
