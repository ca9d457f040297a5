"""Spoken digits of speakers that were not learned from: each speaker of the Free Spoken Digit Dataset held out in turn, audio alone.

The classifier is that of the preset `spoken-digits`, with one encoder and fewer steps. It learns from the five others, and nothing is
chosen by the one held out: the last step counts.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from pipeline import config as configuration
from pipeline import io, models, paths
from pipeline.data import shards, tokenizers
from pipeline.data.digits import CLASSES, mel, recordings, waves
from pipeline.errors import UserError
from pipeline.progress import say
from pipeline.schema.data import FsddAudio
from pipeline.stages.quantize import Quantizer
from pipeline.stages.train import describe
from pipeline.training import tasks
from pipeline.training.checkpoints import Store
from pipeline.training.loop import Trainer

PRESET = "spoken-digits"
STEPS, FEW_LEVEL_STEPS = 500, 150
"""Of the trainings in float and at five levels."""

Array = npt.NDArray[Any]


class Spoken(NamedTuple):
    """All recordings: levels uint8 [N, T, M], digits [N], and who speaks."""

    levels: Array
    labels: Array
    speakers: Array


class Accuracy(NamedTuple):
    """Shares of one speaker's recordings that are right."""

    speaker: str
    recordings: int
    in_float: float
    five_levels: float


class Silent:
    """Events that nobody asks for."""

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Not kept."""

    def text(self, name: str, text: str) -> None:
        """Not kept."""


def recorded(source: FsddAudio) -> Spoken:
    """Every recording of a source, downloaded or from the mirror; raises `UserError`."""
    levels, labels, speakers = [], [], []
    for document in recordings.fetch(source, paths.private() / "downloads").documents:
        _, digit, speaker, _ = document.id.split("/")
        levels.append(mel.levels(*waves.read(document.text, document.id)))
        labels.append(int(digit))
        speakers.append(speaker)
    return Spoken(np.stack(levels), np.array(labels, np.uint8), np.array(speakers))


def held_out(spoken: Spoken, names: Sequence[str], seed: int, steps: tuple[int, int] = (STEPS, FEW_LEVEL_STEPS)) -> Iterator[Accuracy]:
    """Train without each of the speakers, one after another, and judge by that speaker."""
    block = configuration.load(configuration.preset(PRESET)).models["pentary"]
    few = block.quantization.training
    assert few is not None
    settings, tuning = (
        each.model_copy(update={"steps": count, "evaluate_every": count, "warmup_steps": min(each.warmup_steps, count // 10)})
        for each, count in ((block.training, steps[0]), (few, steps[1]))
    )
    quantization = block.quantization.model_copy(update={"training": tuning})
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            ready, state = Path(folder) / "ready", Path(folder) / "state"
            dataset = _write(ready, spoken, name)
            task = tasks.of(ready, dataset, settings, 1, seed, False)
            module = models.create(describe(block, dataset, ready, name), seed)
            Trainer(module, task, seed, Store(state / "float"), Silent(), f"without {name}").run()
            in_float = task.evaluate(module, "test")["accuracy"]
            packed = Quantizer(quantization, ready, seed, Store(state / "few"), Silent(), f"without {name}").run(module, name)
            five_levels = task.evaluate(packed.module.eval(), "test")["accuracy"]
            yield Accuracy(name, int((spoken.speakers == name).sum()), in_float, five_levels)


def _write(ready: Path, spoken: Spoken, name: str) -> dict[str, Any]:
    """A ready data set of audio alone whose test split is one speaker; the curve's validation reads training data. Returns dataset.json."""
    test = spoken.speakers == name
    ready.mkdir(parents=True)
    parts = {"train": ~test, "validation": ~test, "test": test}
    for split, chosen in parts.items():
        order = np.flatnonzero(chosen)[np.argsort(spoken.labels[chosen], kind="stable")]
        labels = spoken.labels[order]
        rows = {"audio.row": np.arange(len(order), dtype=np.uint32), "audio.label": labels, "label": labels}
        shards.write(ready / f"{split}.safetensors", {"audio": spoken.levels[order], **rows})
    learned = spoken.levels[~test]
    feature = {"name": "audio", "shape": list(learned.shape[1:]), "mean": float(learned.mean()), "deviation": float(learned.std())}
    tokenizer = tokenizers.byte_pairs(CLASSES, 300)
    tokenizer.save(ready / "tokenizer.json", ready / "tokenizer_config.json")
    head = {"kind": "classification", "name": "speakers", "vocab_size": tokenizer.vocab_size, "classes": list(CLASSES)}
    splits = {split: {"tokens": int(chosen.sum()), "sha256": io.sha256(ready / f"{split}.safetensors")} for split, chosen in parts.items()}
    dataset = {**head, "features": [feature], "splits": splits, "source": {"kind": "digits"}}
    io.write_json(ready / "dataset.json", dataset)
    return dataset


def show(seed: int, only: Sequence[str] | None = None) -> None:
    """Print the table, a row a speaker; `UserError` for a speaker that there is not."""
    spoken = recorded(FsddAudio(kind="fsdd"))
    everyone = sorted(set(spoken.speakers.tolist()))
    for name in only or ():
        if name not in everyone:
            raise UserError(f"--speaker {name} is nobody: choose from {', '.join(everyone)}")
    table = Table(title="Free Spoken Digit Dataset, each speaker held out in turn, audio alone, % right")
    for column in ("speaker", "recordings", "float", "five levels"):
        table.add_column(column, justify="left" if column == "speaker" else "right")
    found = []
    for each in held_out(spoken, only or everyone, seed):
        found.append(each)
        say(f"without {each.speaker}: {100 * each.in_float:.1f} % of what it says in float, {100 * each.five_levels:.1f} % at five levels")
        table.add_row(each.speaker, f"{each.recordings}", f"{100 * each.in_float:.1f}", f"{100 * each.five_levels:.1f}")
    means = [100 * sum(values) / len(found) for values in zip(*((each.in_float, each.five_levels) for each in found), strict=True)]
    table.add_row("mean", "", *(f"{mean:.1f}" for mean in means))
    Console().print(table)
