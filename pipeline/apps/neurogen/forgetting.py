"""Forgetting: a text, then the same language in a cipher; what a brain still knows of the first, with and without consolidation."""

import math
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import rng
from pipeline.apps.neurogen import rules
from pipeline.apps.neurogen.study import Outcome
from pipeline.models.base import Model
from pipeline.schema.training import Consolidation
from pipeline.training.checkpoints import Store
from pipeline.training.loop import Trainer
from pipeline.training.tasks import Batch, Task

STEPS = 150
"""On each text."""
REPLAY = Consolidation(every=4, tokens=1024, episodes=256)
COLUMNS = ("way", "first text, learned", "first text, at the end", "second text, at the end")
TEXTS = ("first text", "second text")
WAYS = {"without consolidation": None, "with consolidation": REPLAY}


class TwoTexts:
    """The face of a task: its text for the first half of the steps, and then its text with every token in place of another.

    `evaluate` judges both, and the loop by their mean.
    """

    def __init__(self, task: Task, cipher_V: Tensor) -> None:
        self.task, self.cipher_V, self.settings, self.splits = task, cipher_V, task.settings, task.splits
        self.sequences, self.tokens_per_step, self.teacher = task.sequences, task.tokens_per_step, None
        self.reader, self.loss, self.score = task.reader, task.loss, task.score

    def batch(self, step: int) -> Batch:
        batch = self.task.batch(step)
        return batch if step < self.settings.steps // 2 else self.enciphered(batch)

    def enciphered(self, batch: Batch) -> Batch:
        return Batch(*(self.cipher_V[part] for part in batch))

    @torch.inference_mode()
    def evaluate(self, module: Model, split: str, limit: int | None = None) -> dict[str, float]:
        first, second, tokens = 0.0, 0.0, 0
        for plain in self.task.whole(split, limit):
            hidden = self.enciphered(plain)
            tokens += plain.targets.numel()
            first, second = (
                total + self.task.loss(batch.inputs, module(batch.inputs)[0], batch.targets).item()
                for total, batch in ((first, plain), (second, hidden))
            )
        return {"loss": (first + second) / tokens / 2, "first": first / tokens, "second": second / tokens}


def learn(data: str, seed: int, steps: int, replay: Consolidation | None) -> list[dict[str, Any]]:
    """Rows of a training on one text and then the other: tokens, and the held-out losses of both."""
    every = math.gcd(steps, max(1, steps // 5))  # so that there are figures where the texts change
    changes = {"schedule": "constant", "learning_rate": 0.006, "consolidation": replay, "evaluate_every": every}
    lessons, vocab_size = rules.task(data, rules.settings("bptt", 2 * steps).model_copy(update=changes), seed)
    cipher_V = torch.randperm(vocab_size, generator=rng.generator(seed, "cipher"))
    both: Any = TwoTexts(lessons, cipher_V)
    module = rules.brain(vocab_size, "bptt", seed)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(module, both, seed, Store(Path(folder)), rules.Silent(), f"{'with' if replay else 'without'}, seed {seed}")
        trainer.run()
    return [
        {"tokens": row["tokens"], "first": row["validation_first"], "second": row["validation_second"]} for row in trainer.progress.curve
    ]


def run(seeds: int, data: str, steps: int = STEPS) -> Outcome:
    """Both ways, for each seed."""
    rows, lines, summary = [], {}, []
    for way, replay in WAYS.items():
        curves = [learn(data, seed, steps, replay) for seed in range(seeds)]
        rows += [{"way": way, "seed": seed, **row} for seed, curve in enumerate(curves) for row in curve]
        for text, key in zip(TEXTS, ("first", "second"), strict=True):
            lines[f"{text}, {way}"] = [[(row["tokens"], row[key]) for row in curve] for curve in curves]
        half = steps * rules.STREAMS * rules.CONTEXT
        learned = [next(row["first"] for row in curve if row["tokens"] == half) for curve in curves]
        ends = [(curve[-1]["first"], curve[-1]["second"]) for curve in curves]
        mean = [sum(each) / seeds for each in (learned, *zip(*ends, strict=True))]
        summary.append(
            dict(zip(("way", "first text, learned", "first text, at the end", "second text, at the end"), (way, *mean), strict=True))
        )
    title = f"nats a token, {seeds} seeds: {data}, then {data} in a cipher, {half:,} tokens each"
    return Outcome(title, rows, summary, ("tokens", "held-out loss (nats a token)"), lines, {})
