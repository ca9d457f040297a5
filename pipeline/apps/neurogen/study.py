"""`python -m pipeline experiments neurogen --only ...`: each experiment's table and curves, as files, on the terminal, in MLflow."""

import contextlib
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipeline import io, tracking
from pipeline.apps.neurogen import pictures
from pipeline.tracking import location

Points = Sequence[tuple[float, float]]


class Outcome(NamedTuple):
    """What an experiment found."""

    title: str
    rows: list[dict[str, Any]]
    """The table, a row a measurement, as it goes into the CSV."""
    summary: list[dict[str, Any]]
    """The table as it is shown."""
    axes: tuple[str, str]
    lines: Mapping[str, Sequence[Points]]
    """Curves by name, one a seed."""
    levels: Mapping[str, float]
    """What curves are to be compared with: horizontal lines."""
    logarithmic: bool = False
    """Whether the horizontal axis is."""


def conclude(name: str, outcome: Outcome, folder: Path) -> None:
    """Write NAME.csv and NAME.svg, print the table, and log all of it."""
    outputs = [folder / f"{name}.csv", folder / f"{name}.svg"]
    io.write_csv(outputs[0], outcome.rows)
    pictures.curves(outcome.lines, outcome.levels, outcome.axes, outputs[1], outcome.logarithmic)
    show(outcome)
    found: dict[tuple[str, float], list[float]] = defaultdict(list)
    for line, seeds in outcome.lines.items():
        for x, y in itertools.chain(*seeds):
            found[plain(f"{name}/{line}"), x].append(y)
    means = [(curve, round(x), sum(ys) / len(ys)) for (curve, x), ys in found.items()]
    log(name, outputs, [*means, *((plain(f"{name}/{level}"), 0, value) for level, value in outcome.levels.items())])


def show(outcome: Outcome) -> None:
    """The table on the terminal."""
    table = Table(title=outcome.title, title_justify="left", box=SIMPLE_HEAD)
    for place, column in enumerate(outcome.summary[0]):
        table.add_column(column, justify="right" if place else "left")
    for row in outcome.summary:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(highlight=False).print(table)


def log(name: str, outputs: Sequence[Path], points: Sequence[tuple[str, int, float]]) -> None:
    """Bring an experiment's files and curves (name, step, value) into MLflow: a run of its own, again the same one for the same figures."""
    with tracking.open_log("experiments", f"neurogen-{name}", {}) as events:
        events.follow = False
        events.run(io.digest(["neurogen", name, *([curve, step, value] for curve, step, value in points)])[:16])
        events.tags({"mlflow.runName": f"neurogen: {name}"})
        for curve, step, value in points:
            events.metrics({curve: value}, step)
        for output in outputs:
            events.artifact(output, "experiments")
        events.published([])
    if location.enabled():
        from pipeline.apps import sync

        sync.replay()


def plain(name: str) -> str:
    """What MLflow takes as a name."""
    return "".join(letter if letter.isalnum() or letter in "-._/ " else "_" for letter in name)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """The same numbers come out anywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run(names: Sequence[str], folder: Path, seeds: int, data: str) -> None:
    """Do the experiments; `UserError` where the data set is not ready."""
    from pipeline.apps.neurogen import footprint, forgetting, recall, rules

    experiments: dict[str, Callable[[], Outcome]] = {
        "learning": lambda: rules.run(seeds, data),
        "recall": lambda: recall.run(seeds),
        "consolidation": lambda: forgetting.run(seeds, data),
        "memory": footprint.run,
    }
    with one_thread():
        for name in names:
            conclude(name, experiments[name](), folder)
