"""Events -> what MLflow is told. Pure functions, so that a replay says the same as the first time."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.config import flatten

DEPTH = 2
"""Figures of metrics/*.json that lie deeper (a table by operator and digits) stay in the attached file, or they would drown the rest."""

LONGEST = 500
"""Characters of a parameter's value that are kept, as of a long prompt."""

SWEPT = re.compile(r"(.+)-\d+")
"""Name of an experiment that belongs to a sweep, as `dvc exp run --queue --name widths -S key=a,b` gives it: widths-1, widths-2."""

STAGES = ("train", "quantize", "convert", "evaluate")
"""Those whose logs belong to a point of a sweep."""

COMPARED = ("float", "quantized")
JUDGED_BY = ("bits_per_byte", "exact_match", "accuracy")
"""What a model of each task is judged by."""
REPEATED = ("packed.tokens", "packed.weights", "packed.float_bytes", "trained.tokens")
"""Figures that another one says."""

STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}


class Point(NamedTuple):
    """One value of a curve; `time` in milliseconds since 1970."""

    name: str
    step: int
    value: float
    time: int


class Attachment(NamedTuple):
    """A published file, the folder among the run's artifacts, and the SHA-256 that it had when it was published."""

    path: str
    folder: str
    sha256: str


class Judged(NamedTuple):
    """A model that was evaluated: the files that were judged and their SHA-256, its figures beside the float model's, and when."""

    files: dict[str, str]
    figures: dict[str, float]
    time: int

    def of(self, folder: str) -> dict[str, str]:
        """The files below a folder."""
        return {path: value for path, value in self.files.items() if path.startswith(f"{folder}/")}


@dataclass
class Batch:
    """What a stretch of an event log means for its MLflow run."""

    points: list[Point] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    datasets: list[dict[str, Any]] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    attachments: list[Attachment] = field(default_factory=list)
    judged: Judged | None = None
    ended: tuple[str, int] | None = None
    """MLflow's status of the run and the time of its end."""


class Head(NamedTuple):
    """What a log is about: found in its first events."""

    stage: str
    model: str
    training_key: str
    began: int
    experiment: str = ""
    """The point of a sweep that the log belongs to: `widths-1`."""

    @property
    def run_name(self) -> str:
        return f"{self.experiment} {self.model}" if self.experiment else f"{self.model}-{self.training_key[:6]}"

    @property
    def sweep(self) -> str:
        """Name of the sweep, or nothing."""
        return sweep_of(self.experiment)

    @property
    def tags(self) -> dict[str, str]:
        """Which run this is, and which it lies below."""
        below = {"sweep": self.sweep, "experiment": self.experiment, "parent_key": parent_key(self.sweep)} if self.sweep else {}
        return {"training_key": self.training_key, "model": self.model, **below}


def sweep_of(experiment: str) -> str:
    """`widths` for the experiment `widths-12`, nothing for one that has no number."""
    found = SWEPT.fullmatch(experiment)
    return found[1] if found else ""


def parent_key(sweep: str) -> str:
    """Training key of the run above the points of a sweep."""
    return f"sweep {sweep}"


def head(events: Iterable[Mapping[str, Any]]) -> Head | None:
    """Stage, model and key of a log, or None while it has not said to which run it belongs.

    Each point of a sweep is a run of its own, also where two of them have a training in common: its key ends with the point's name.
    """
    begin: Mapping[str, Any] = {}
    for event in events:
        if event["event"] == "begin":
            begin = event
        elif event["event"] == "run":
            experiment, key = begin.get("experiment") or "", event["training_key"]
            if begin["stage"] not in STAGES or not sweep_of(experiment):
                return Head(begin["stage"], begin["target"], key, milliseconds(begin))
            return Head(begin["stage"], begin["target"], f"{key}@{experiment}", milliseconds(begin), experiment)
    return None


def translate(about: Head, events: Iterable[Mapping[str, Any]]) -> Batch:
    """The events of one stretch of a log as one batch."""
    batch = Batch()
    for event in events:
        match event["event"]:
            case "begin":
                batch.parameters |= parameters(event["parameters"], about.model)
                batch.tags |= _origin(event)
            case "run":
                batch.tags |= about.tags
            case "metrics":
                batch.points += [Point(name, event["step"], value, milliseconds(event)) for name, value in event["values"].items()]
            case "results":
                _results(batch, event)
            case "tags":
                batch.tags |= event["values"]
            case "dataset":
                batch.datasets.append({name: event[name] for name in ("name", "digest", "source", "split", "counts")})
            case "text":
                batch.texts[event["name"]] = event["text"]
            case "code":
                batch.texts[f"code/{about.stage}.json"] = json.dumps(event["files"], indent=2) + "\n"
            case "artifact":
                batch.attachments.append(Attachment(event["path"], event["folder"], event["sha256"]))
            case "end" if about.stage == "train":
                batch.ended = STATUS[event["status"]], milliseconds(event)
    batch.datasets.sort(key=lambda dataset: dataset["split"] != "train")  # the UI shows the first one
    return batch


def _results(batch: Batch, event: Mapping[str, Any]) -> None:
    found, moment = dict(figures(event["stage"], event["values"])), milliseconds(event)
    batch.points += [Point(name, 0, value, moment) for name, value in found.items()]
    if "inputs" in event["values"]:
        compared = {name: value for name, value in found.items() if name.startswith(COMPARED)}
        batch.tags["result"] = result(compared)
        batch.judged = Judged(dict(event["values"]["inputs"]), compared, moment)


def parameters(values: Mapping[str, Any], model: str) -> dict[str, str]:
    """Flat names without the model's, so that two models have the same columns: `training.learning_rate`; none for what is unset."""
    flat = flatten(dict(values))
    return {name.removeprefix(f"models.{model}."): _text(value)[:LONGEST] for name, value in flat.items() if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value)


def figures(stage: str, values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The main numbers of metrics/MODEL/STAGE.json: `float/loss`, `quantized/exact_match`, `packed.bits_per_weight`, `onnx.kl_divergence`.

    The UI draws a section of charts for what stands before a `/`, by the alphabet, and below them one for all other names: so the two
    models that are to be compared come first, then the curves (`train/`, `validation/`), then the rest. An export has its size and how far
    it is from the packed model; its own figures on the test split are that model's, and stay in the attached file. Six digits are enough.
    """
    groups = {
        "train": {"trained": values},
        "quantize": {"packed": values.get("quantized", {})},
        "evaluate": {name: values[name] for name in COMPARED if name in values},
    }.get(stage, values)
    for path, value in _leaves(groups, ()):
        if len(path) == DEPTH and ".".join(path) not in REPEATED:
            yield ("/" if path[0] in COMPARED else ".").join(path), float(f"{value:.6g}") if value % 1 else value


def result(figures: Mapping[str, float]) -> str:
    """A judged model in one line: its figure beside the float model's, and its size."""
    name = next((name for name in JUDGED_BY if f"quantized/{name}" in figures), "loss")
    packed, whole = (f"{figures[f'{kind}/{name}']:.4g}" for kind in ("quantized", "float"))
    size = f"{figures['quantized/bytes']:,.0f} bytes ({figures['quantized/bits_per_weight']:.3g} bits a weight)"
    return f"{name.replace('_', ' ')} {packed} (float {whole}), {size}"


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, (*path, str(name)))
    elif isinstance(value, int | float):
        yield path, float(value)


def _origin(begin: Mapping[str, Any]) -> dict[str, str]:
    """Who made this, as tags; those that begin with `mlflow.` fill the UI's own columns."""
    git = begin["git"] or {}
    tags = {
        "runner": begin["runner"],
        "host": begin["host"],
        "python": begin["python"],
        **{f"version.{name}": value for name, value in begin["versions"].items() if value},
        **{f"dvc.{name}": value for name, value in begin["dvc"].items()},
        "mlflow.user": begin["user"],
    }
    if begin["stage"] == "train":  # the row is a training; its later stages only add to it
        tags |= {"mlflow.source.name": begin["command"], "mlflow.source.type": "LOCAL"}
    if git:
        tags |= {"git.commit": git["commit"], "git.dirty": _text(git["dirty"]), "mlflow.source.git.commit": git["commit"]}
    return tags


def milliseconds(event: Mapping[str, Any]) -> int:
    """An event's time as MLflow counts it, from 1970."""
    return int(event["time"] * 1000)
