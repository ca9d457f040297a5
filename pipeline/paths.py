"""Where things lie: the only place that spells the project's paths.

All are relative to the project's root, which is the working directory of every stage (DVC and Snakemake both see to that).
What a stage reads and writes is listed once, here; `dvc.yaml` and `Snakefile` say the same by hand and a test compares the three.
"""

import os
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import UserError

PARAMETERS = Path("params.yaml")
PRESETS = Path("presets")
SCHEMA = Path("workflow/params.schema.yaml")
REPORT = Path("report/index.html")
SUMMARY = Path("report/summary.json")
METRICS = Path("metrics")
PLOTS = Path("plots")
SPLITS = ("train", "validation", "test")

MODEL_FILES = ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json")
READY_FILES = (*(f"{split}.safetensors" for split in SPLITS), "tokenizer.json", "tokenizer_config.json", "dataset.json")
RAW_FILES = ("documents.jsonl", "source.json")


class Files(NamedTuple):
    """What one stage reads and writes, code left aside; an output may be a directory where its content depends on parameters."""

    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]


def raw(dataset: str) -> Path:
    return Path("data/raw") / dataset


def ready(dataset: str) -> Path:
    return Path("data/ready") / dataset


def model(name: str) -> Path:
    return Path("models") / name


def quantized(name: str) -> Path:
    return Path("quantized") / name


def exports(name: str) -> Path:
    return Path("exports") / name


def metrics(name: str, stage: str) -> Path:
    return METRICS / name / f"{stage}.json"


def plot(name: str, stage: str) -> Path:
    return PLOTS / name / f"{stage}.csv"


def samples(name: str) -> Path:
    return METRICS / name / "samples.txt"


def _all(folder: Path, names: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(folder / name for name in names)


def files(stage: str, target: str | None, dataset: str | None = None) -> Files:
    """Inputs and outputs of a stage; `target` is a data set or a model, `dataset` the model's data set."""
    match stage, target:
        case "download", str(name):
            return Files((), _all(raw(name), RAW_FILES))
        case "tokenize", str(name):
            return Files(_all(raw(name), RAW_FILES), _all(ready(name), READY_FILES))
        case "train", str(name):
            data = _all(ready(_known(dataset)), READY_FILES)
            return Files(data, (*_all(model(name), MODEL_FILES), metrics(name, stage), plot(name, stage)))
        case "quantize", str(name):
            source = (*_all(model(name), MODEL_FILES), *_all(ready(_known(dataset)), READY_FILES))
            return Files(source, (*_all(quantized(name), MODEL_FILES), metrics(name, stage), plot(name, stage)))
        case "convert", str(name):
            source = (*_all(model(name), MODEL_FILES), *_all(quantized(name), MODEL_FILES), *_all(ready(_known(dataset)), READY_FILES))
            return Files(source, (exports(name), metrics(name, stage)))
        case "evaluate", str(name):
            inputs, (exported, converted) = files("convert", name, dataset)
            return Files((*inputs, exported, converted), (metrics(name, stage), samples(name), plot(name, stage)))
        case "report", None:
            return Files((METRICS, PLOTS), (REPORT, SUMMARY))
    raise ValueError(f"no stage {stage!r} with target {target!r}")


def _known(dataset: str | None) -> str:
    if dataset is None:
        raise ValueError("this stage belongs to a model, so its data set must be given")
    return dataset


def repository() -> Path:
    """The real repository's root: `DVC_ROOT` names it even where `dvc exp run --temp` runs a stage in a copy of it."""
    return Path(os.environ.get("DVC_ROOT", "."))


def private() -> Path:
    """`.quintet/`: training state, event logs, locks. Outside all outputs, and shared by DVC's temporary experiment folders."""
    named = os.environ.get("QUINTET_HOME")
    return Path(named) if named else repository() / ".quintet"


def require_project() -> None:
    """Raise `UserError` where the working directory is not the root of a project."""
    if not PARAMETERS.is_file():
        raise UserError(f"there is no {PARAMETERS} in {Path.cwd()}: run this in the root folder of a Quintet project")
