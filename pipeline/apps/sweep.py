"""`python -m pipeline sweep NAME`: the experiments NAME-1, NAME-2, ... beside each other, as a table and two pictures, here and in MLflow.

They are those of DVC (`dvc exp run --queue --name NAME -S key=value,value`), and those of Snakemake (`snakemake -s workflow/sweep.smk`),
which have a folder each.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipeline import config as configuration
from pipeline import io, paths, tracking
from pipeline.apps import sweep_charts
from pipeline.errors import UserError
from pipeline.progress import say
from pipeline.report import figures
from pipeline.tracking import batch, events, location

FOLDER = Path("sweeps")
WIDTH = 140
"""Of the table where the output is no terminal."""
OUTPUTS = ("sweep.csv", "pareto.svg", "parallel.svg")
COMMANDS = (
    "`dvc exp run --queue --name {0} -S KEY=A,B`, `dvc exp run --run-all`; or `snakemake -s workflow/sweep.smk --config sweep={0} ...`"
)


@dataclass(frozen=True)
class Point:
    """One experiment of a sweep: its parameters, flat, and what the stages measured of one model."""

    name: str
    parameters: dict[str, Any]
    measured: dict[str, dict[str, Any]]

    @property
    def number(self) -> int:
        return int(self.name.rpartition("-")[2])

    @property
    def judged_by(self) -> str:
        """The loss on the test split, or what stands for it."""
        found = self.measured["evaluate"]["quantized"]
        return "loss" if "loss" in found else figures.headline(found)

    def figure(self, name: str, which: str = "quantized") -> float:
        return float(self.measured["evaluate"][which][name])


def show(name: str, model: str | None) -> None:
    """Write table and pictures to sweeps/NAME, print the table, log all; raises `UserError` where there is nothing to compare."""
    paths.require_project()
    files = dict(sorted(_points(name), key=lambda found: int(found[0].rpartition("-")[2])))
    if len(files) < 2:
        raise UserError(f"the sweep {name!r} has {len(files)} finished experiments, and two are needed: {COMMANDS.format(name)}")
    parameters = {point: _parameters(read, point) for point, read in files.items()}
    model = model or _model(name, parameters)
    points = [point for point in (_point(found, parameters[found], read, model) for found, read in files.items()) if point]
    if len(points) < 2:
        raise UserError(f"{len(points)} experiments of the sweep {name!r} evaluated {model!r}, and two are needed: {COMMANDS.format(name)}")
    differing = swept(points, model)
    rows = table(points, differing)
    outputs = [FOLDER / name / output for output in OUTPUTS]
    io.write_csv(outputs[0], rows)
    judged_by = points[0].judged_by
    sweep_charts.pareto(rows, judged_by, f"{name}: {model} at five levels", outputs[1])
    sweep_charts.parallel(rows, [*differing, "bytes", judged_by], f"{name}: {model} at five levels", outputs[2])
    _print(name, model, rows)
    _log(name, model, points, outputs)
    say(", ".join(map(str, outputs)))


def _points(name: str) -> Iterator[tuple[str, Callable[[str], str]]]:
    """Name of each experiment, and how to read a file of it: from a commit of DVC's, the newest one last, or a folder of Snakemake's."""
    listed = _git("for-each-ref", "--sort=committerdate", "--format=%(refname)", "refs/exps")
    for reference in listed.splitlines():
        experiment = reference.rpartition("/")[2]
        if batch.sweep_of(experiment) == name:
            yield experiment, lambda file, reference=reference: _git("show", f"{reference}:{file}")  # type: ignore[misc]
    for folder in (FOLDER / name).glob(f"{name}-*/"):
        if batch.sweep_of(folder.name) == name:
            yield folder.name, lambda file, folder=folder: (folder / file).read_text(encoding="utf-8")  # type: ignore[misc]


def _git(*arguments: str) -> str:
    """Raises `FileNotFoundError` for what is not there; nothing comes out of a folder that is no repository."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    if done.returncode and arguments[0] == "show":
        raise FileNotFoundError(arguments[1])
    return done.stdout


def _parameters(read: Callable[[str], str], point: str) -> dict[str, Any]:
    name = "params.yaml"
    return configuration.flatten(configuration.parse_text(read(name), f"{name} of {point}"))


def _model(name: str, parameters: dict[str, dict[str, Any]]) -> str:
    """The only model of which something differs between the experiments."""
    keys = {key for each in parameters.values() for key in each}
    differing = [key for key in keys if len({json.dumps(each.get(key)) for each in parameters.values()}) > 1]
    models = sorted({key.split(".")[1] for key in differing if key.startswith("models.")})
    if len(models) != 1:
        raise UserError(f"the sweep {name!r} does not say which model to compare: add --model and its name")
    return models[0]


def _point(name: str, parameters: dict[str, Any], read: Callable[[str], str], model: str) -> Point | None:
    """An experiment, or None where it did not get to the model's evaluation."""
    stages = ("train", "quantize", "convert", "evaluate")
    try:
        measured = {stage: json.loads(read(paths.metrics(model, stage).as_posix())) for stage in stages}
    except FileNotFoundError:
        return None
    return Point(name, parameters, measured)


def swept(points: list[Point], model: str) -> dict[str, str]:
    """What differs between the points: the model's parameters, short, and those of data and seed; short name -> key."""
    keys = dict.fromkeys(key for point in points for key in point.parameters)
    others = [key for key in keys if key.startswith("models.") and not key.startswith(f"models.{model}.")]
    differing = [key for key in keys if key not in others and len({json.dumps(point.parameters.get(key)) for point in points}) > 1]
    if not differing:
        raise UserError(f"the experiments have equal parameters of {model!r}: sweep some of models.{model}, as its learning rate")
    return {key.removeprefix(f"models.{model}."): key for key in differing}


def table(points: list[Point], differing: dict[str, str]) -> list[dict[str, Any]]:
    """A row a point: number, swept parameters, figures; `front` where no other point is both smaller and better."""
    judged_by = points[0].judged_by
    sign = -1 if judged_by in figures.HIGHER_IS_BETTER else 1
    places = [(point.figure("bytes"), sign * point.figure(judged_by)) for point in points]
    rows = []
    for point, place in zip(points, places, strict=True):
        beaten = any(other != place and other[0] <= place[0] and other[1] <= place[1] for other in places)
        values = {short: point.parameters.get(key) for short, key in differing.items()}
        found = {"bytes": int(place[0]), judged_by: point.figure(judged_by), f"float {judged_by}": point.figure(judged_by, "float")}
        rows.append({"point": point.number, **values, **found, "front": "" if beaten else "yes"})
    return rows


def _print(name: str, model: str, rows: list[dict[str, Any]]) -> None:
    shown = Table(title=f"{name}: {model} at five levels, on the test split", title_justify="left", box=SIMPLE_HEAD)
    for column in rows[0]:
        shown.add_column(column, justify="right")
    for row in rows:
        shown.add_row(*(_cell(column, value) for column, value in row.items()))
    Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH).print(shown)


def _cell(column: str, value: Any) -> str:
    if column == "bytes":
        return figures.size(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _log(name: str, model: str, points: list[Point], outputs: list[Path]) -> None:
    """The pictures to the run above the points; and what no stage logged, because DVC knew the result of an equal one."""
    with tracking.open_log("sweep", name, {}) as log:
        log.follow = False
        log.run(batch.parent_key(name))
        log.tags({"mlflow.runName": name, "sweep": name})
        for output in outputs:
            log.artifact(output, "sweep")
        log.published([])
    known = _logged()
    for point in points:
        key, stages = known.get((point.name, model), (f"sweep@{point.name}", set()))
        if not stages >= set(batch.STAGES) and "sweep" not in stages:
            _log_point(name, model, point, key)
    if location.enabled():
        from pipeline.apps import sync

        try:
            sync.replay()
        except UserError as error:  # table and pictures are there all the same
            say(f"{error}; `python -m pipeline sync` brings the sweep into it later")


def _logged() -> dict[tuple[str, str], tuple[str, set[str]]]:
    """MLflow's key of an experiment and model, and the stages that ended well, by the event logs here."""
    known: dict[tuple[str, str], tuple[str, set[str]]] = {}
    for path in sorted(location.logs().glob("*.jsonl")):
        found, _ = events.read(path)
        about = batch.head(found)
        if about and "@" in about.training_key and found[-1].get("status") == "finished":
            place = about.training_key.partition("@")[2], about.model
            if place not in known or known[place][0] != about.training_key:  # of two sweeps of one name, the newer
                known[place] = about.training_key, set()
            known[place][1].add(about.stage)
    return known


def _log_point(name: str, model: str, point: Point, key: str) -> None:
    prefixes = ("seed", f"models.{model}.")
    given = {parameter: value for parameter, value in point.parameters.items() if parameter.startswith(prefixes)}
    with tracking.open_log("sweep", model, given) as log:
        log.follow = False
        log.run(key)
        below = {"sweep": name, "experiment": point.name, "parent_key": batch.parent_key(name)}
        log.tags({**below, "mlflow.runName": f"{point.name} {model}"})
        for stage, values in point.measured.items():
            log.emit("results", stage=stage, values=values)
