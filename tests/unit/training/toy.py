"""Small trainings: a text with structure, sums of small numbers, and settings that end within a second."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline import models
from pipeline.data import tokenizers
from pipeline.data.arithmetic import Codec
from pipeline.schema.training import Training
from pipeline.training.checkpoints import Store
from pipeline.training.loop import Trainer
from pipeline.training.tasks import Arithmetic, Language, Task
from tests.unit.models import tiny

SEED = 11
ALPHABET = "abcdefghijklmnop"
CODEC = Codec(("+",), 2, 0, 9, 0, 18)
DEFAULTS: dict[str, Any] = {"steps": 12, "batch_size": 4, "warmup_steps": 2, "evaluate_every": 4, "checkpoint_every": 5}


def settings(**changes: Any) -> Training:
    return Training(**DEFAULTS | changes)


def language(**changes: Any) -> Language:
    """The alphabet again and again, which a model learns within a few steps."""
    tokens = np.resize(np.arange(16, dtype=np.uint16), 400)
    splits = {"train": tokens, "validation": tokens[:70], "test": tokens[:50]}
    return Language(splits, settings(**changes), SEED, tiny.CONTEXT, tokenizers.characters(ALPHABET))


def arithmetic(context: int = 12, **changes: Any) -> Arithmetic:
    rows = CODEC.encode_rows(f"{a}+{b}={a + b}" for a in range(10) for b in range(10))
    return Arithmetic({"train": rows, "validation": rows[:40], "test": rows[60:]}, settings(**changes), SEED, context, CODEC)


class Events:
    """Keeps what a training says."""

    def __init__(self) -> None:
        self.curve: list[tuple[int, dict[str, float]]] = []
        self.texts: dict[str, str] = {}

    def metrics(self, values: dict[str, float], step: int) -> None:
        self.curve.append((step, dict(values)))

    def text(self, name: str, text: str) -> None:
        self.texts[name] = text


def trainer(task: Task, folder: Path, **architecture: Any) -> Trainer:
    module = models.create(tiny.config(**architecture), SEED)
    return Trainer(module, task, SEED, Store(folder), Events(), "test")
