"""The one training loop as a library: from a task to a self-contained model directory, outside any stage."""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline import io, models, progress
from pipeline.data.tokenizers import Tokenizer
from pipeline.models.base import Model
from pipeline.tracking.events import EventLog
from pipeline.training import devices
from pipeline.training.checkpoints import Store
from pipeline.training.loop import Trainer
from pipeline.training.tasks import Task

GENERATION = "generation_config.json"
"""Defaults of generating, under the names that transformers reads them by."""
STATE = ".training"
"""Folder inside the model directory for checkpoints and lock, while a training runs or waits to go on."""


def fit(
    task: Task, config: Mapping[str, Any], tokenizer: Tokenizer, output: Path, settings: Mapping[str, Any], generation: Mapping[str, Any]
) -> tuple[Model, dict[str, Any]]:
    """Train a model of `config` (its config.json) and write its directory; returns it with its best weights, and its metrics.

    Stopped and called again with the same arguments it goes on where it was. The directory gets weights, config.json and tokenizer;
    `generation`, the defaults of generating, in generation_config.json; the metrics and `settings` (what the caller was asked for) in
    train.json; the curve in train.csv; the event log in train.jsonl.
    """
    key = training_key(task, config)
    config = {**config, "quintet": {**config["quintet"], "training_key": key}}
    with io.exclusive(output / STATE / "lock", f"a training of {output}"), _as_a_guest(), journal(output) as events:
        device = devices.prepare(task.settings.device, task.settings.threads)
        module = models.create(config, task.seed).to(device)
        trainer = Trainer(module, task, task.seed, Store(output / STATE / key), events, f"train {output.name}")
        trainer.run()
        results = trainer.results()
        models.save(module.state_dict(), config, output / "model.safetensors", output / "config.json")
        tokenizer.save(output / "tokenizer.json", output / "tokenizer_config.json")
        io.write_json(output / GENERATION, dict(generation))
        io.write_json(output / "train.json", {"settings": dict(settings), **results})
        io.write_csv(output / "train.csv", trainer.progress.curve)
    shutil.rmtree(output / STATE)
    return module, results


def training_key(task: Task, config: Mapping[str, Any]) -> str:
    """Names a training by what decides its result: model, settings, seed and data."""
    data = {split: hashlib.sha256(np.ascontiguousarray(tokens).tobytes()).hexdigest() for split, tokens in task.splits.items()}
    return io.digest([dict(config), task.settings.model_dump(mode="json"), task.seed, data])[:16]


class Journal(EventLog):
    """The event log of one training; samples are shown and kept as files besides."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "train.jsonl")
        self.folder = folder

    def text(self, name: str, text: str) -> None:
        """A sample, to log, screen and the directory's samples/."""
        super().text(name, text)
        io.write_bytes(self.folder / name, text.encode())
        progress.say(f"{name}:\n{text}\n")


@contextlib.contextmanager
def journal(folder: Path) -> Iterator[Journal]:
    """The event log of a model directory, begun and ended."""
    log = Journal(folder)
    try:
        yield log
    except BaseException as error:
        log.end("stopped" if isinstance(error, KeyboardInterrupt) else "failed", f"{type(error).__name__}: {error}")
        raise
    else:
        log.end("finished")


@contextlib.contextmanager
def _as_a_guest() -> Iterator[None]:
    """Leave torch's global random state and its choice of algorithms to the caller as they were."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)


@contextlib.contextmanager
def quiet(silent: bool) -> Iterator[None]:
    """No bar and no lines on the screen in this block, if `silent`."""
    before = progress.console.quiet
    progress.console.quiet = before or silent
    try:
        yield
    finally:
        progress.console.quiet = before
