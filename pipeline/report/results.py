"""What a model's stages measured, read back from metrics/ and plots/ and checked for what the report needs."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import io, paths
from pipeline.errors import UserError
from pipeline.progress import say

NEEDED: dict[str, tuple[str, ...]] = {
    "train": ("parameters", "steps", "best_step", "tokens"),
    "quantize": ("quantized",),
    "convert": (),
    "evaluate": ("float", "quantized", "baselines", "inputs"),
}
"""Sections without which a file is not what its stage writes; whatever else is there appears in the tables too."""

Row = dict[str, float | str]
Section = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """Everything that was measured about one model."""

    name: str
    train: Section
    quantize: Section
    convert: dict[str, Section]
    """Parity of each format, and of the model directory itself."""
    evaluate: dict[str, Any]
    """Figures of the float and the packed model, of each export and of the baselines; `inputs`: path and SHA-256 of what was judged."""
    curve: list[Row]
    matrices: list[Row]
    detail: list[Row]
    """The evaluation's own table: loss by position, or exact match by kind of problem."""
    samples: dict[str, str]

    @property
    def exports(self) -> dict[str, Section]:
        """Sections of the evaluation that are neither the float nor the packed model, nor what they have to beat."""
        return {name: self.evaluate.get(name, {}) | parity for name, parity in self.convert.items()}


def collect(models: Mapping[str, Any]) -> list[Results]:
    """Results of every model that params.yaml names, in that order; raises `UserError` where files are missing.

    Those of other models, as a preset's predecessor left them, are named on stderr and left out.
    """
    folders = {path for folder in (paths.METRICS, paths.PLOTS) for path in folder.glob("*") if path.is_dir()}
    strangers = sorted({path.name for path in folders} - models.keys())
    if strangers:
        say(f"left out: {', '.join(strangers)}, of which params.yaml knows nothing (`python -m pipeline clean` lists such results)")
    return [read(name) for name in models]


def read(name: str) -> Results:
    """Results of one model; raises `UserError` naming the file and the stage that makes it."""
    metrics = {stage: _metrics(name, stage) for stage in NEEDED}
    train, quantize, evaluate = (_table(paths.plot(name, stage)) for stage in ("train", "quantize", "evaluate"))
    samples = _sections(_text(paths.samples(name)))
    return Results(name, **metrics, curve=train, matrices=quantize, detail=evaluate, samples=samples)


def _metrics(name: str, stage: str) -> Section:
    path = paths.metrics(name, stage)
    values: Section = io.read_json(path)
    for section in NEEDED[stage]:
        if section not in values:
            raise UserError(f"{path} has no {section!r}: run `python -m pipeline {stage} {name}` again")
    return values


def _table(path: Path) -> list[Row]:
    return [{key: _number(value) for key, value in row.items()} for row in csv.DictReader(_text(path).splitlines())]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run the stage that makes it (`dvc repro` runs all that is needed)") from None


def _sections(text: str) -> dict[str, str]:
    """Samples by model: each begins with a line `=== NAME ===`."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("=== ") and line.endswith(" ==="):
            name = line[4:-4]
        else:
            found.setdefault(name, []).append(line)
    return {name: "\n".join(lines).strip("\n") for name, lines in found.items() if any(lines)}
