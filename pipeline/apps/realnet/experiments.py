"""RealNet beside its baselines: each training of each contestant is a file in a folder; together they are a table and two pictures."""

import contextlib
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipeline import io, tracking
from pipeline.apps.realnet import anytime, contestants, digits, sequences, transfer
from pipeline.apps.realnet.sequences import Figures
from pipeline.progress import Bar
from pipeline.tracking import location

SHOWN = ("task", "net", "figure", "mean", "least", "most", "seeds")
COLUMNS = ("task", "goal", "net", "parameters", "figure", "mean", "least", "most", "seeds")


@dataclass(frozen=True)
class Outcome:
    """One training: parameters, figures (the first counts), and for digits the accuracy after 1, 2, ... steps."""

    parameters: int
    figures: Figures
    curve: list[float]


@dataclass(frozen=True)
class Experiment:
    """What should be reached, how many seeds it takes to say so, and who takes part: a seed -> an outcome."""

    goal: str
    seeds: int
    nets: Mapping[str, Callable[[int], Outcome]]


def experiments() -> dict[str, Experiment]:
    """All experiments by name."""
    return {name: _sequences(task) for name, task in sequences.TASKS.items()} | {
        "digits": Experiment(
            digits.GOAL,
            3,
            {
                "RealNet": lambda seed: Outcome(*digits.realnet(seed)),
                **{name: _without_curve(partial(digits.baseline, make)) for name, make in digits.makers().items()},
                "logistic regression": _without_curve(lambda _: digits.logistic_regression()),
            },
        ),
        "transfer": Experiment(transfer.GOAL, 5, {name: _without_curve(partial(transfer.compete, name)) for name in transfer.CONTESTANTS}),
    }


def _sequences(task: sequences.Task) -> Experiment:
    nets = contestants.contestants(task).items()
    return Experiment(task.goal, task.seeds, {name: _without_curve(partial(contestants.compete, task, make)) for name, make in nets})


def _without_curve(run: Callable[[int], tuple[int, Figures]]) -> Callable[[int], Outcome]:
    return lambda seed: Outcome(*run(seed), curve=[])


def run(names: list[str], seeds: int | None, folder: Path) -> list[dict[str, Any]]:
    """Do the trainings that are not done, then write results.csv and .md, overview.md, figures.svg and anytime.svg; returns the table.

    A training counts as done if its file is of the code that runs. Threads: one, so that the same numbers come out anywhere.
    """
    torch.set_num_threads(1)
    chosen = {name: experiment for name, experiment in experiments().items() if name in names}
    counts = {name: seeds or experiment.seeds for name, experiment in chosen.items()}
    study = Study(folder)
    with Bar("experiments realnet", sum(counts[name] * len(each.nets) for name, each in chosen.items()), "trainings") as bar:
        rows = []
        for name, experiment in chosen.items():
            for net, train in experiment.nets.items():
                results = []
                for seed in range(counts[name]):
                    results.append(study.result(name, net, seed, train))
                    bar.advance(1, task=name, net=net)
                rows.append({"task": name, "goal": experiment.goal, "net": net, "results": results})
    study.conclude(rows)
    return table(rows)


class Study:
    """The files of all trainings, and their way to MLflow: a run above, one below it for each contestant."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.code = io.digest([io.sha256(path) for path in sorted(Path(__file__).parent.glob("*.py"))])
        self.key = io.digest([self.code, str(folder)])[:16]

    def result(self, task: str, net: str, seed: int, train: Callable[[int], Outcome]) -> dict[str, Any]:
        """What a training came to, read if it was done by this code."""
        path = self.folder / task / net.replace(" ", "-").replace(",", "") / f"{seed}.json"
        if path.exists() and (known := io.read_json(path))["code"] == self.code:
            return dict(known)
        outcome = train(seed)
        found = {"code": self.code, "parameters": outcome.parameters, "figures": list(outcome.figures.items()), "curve": outcome.curve}
        io.write_json(path, found)
        return io.read_json(path)  # type: ignore[no-any-return]

    def conclude(self, rows: list[dict[str, Any]]) -> None:
        """Table and pictures as files, and everything to MLflow."""
        shown, outputs = table(rows), [self.folder / name for name in ("results.csv", "results.md", "overview.md", "figures.svg")]
        io.write_csv(outputs[0], shown)
        io.write_bytes(outputs[1], markdown(shown, COLUMNS).encode())
        io.write_bytes(outputs[2], markdown(*overview(shown)).encode())
        draw(rows, outputs[3])
        curves = {row["net"]: [result["curve"] for result in row["results"]] for row in rows if row["results"][0]["curve"]}
        if curves:
            outputs.append(self.folder / "anytime.svg")
            anytime.plot_accuracy(curves, outputs[-1], digits.STEPS)
        with self._log("study", {}) as events:
            events.run(self.key)
            events.tags({"mlflow.runName": "realnet: experiments"})
            for output in outputs:
                events.artifact(output, "experiments")
            events.published([])
        for row in rows:
            with self._log(row["net"], {"task": row["task"], "net": row["net"], "goal": row["goal"]}) as events:
                events.run(io.digest([self.key, row["task"], row["net"]])[:16])
                events.tags({"parent_key": self.key, "mlflow.runName": f"{row['task']}: {row['net']}"})
                for seed, result in enumerate(row["results"]):
                    events.metrics({f"experiment/{_plain(name)}": value for name, value in result["figures"]}, step=seed)
        if location.enabled():
            from pipeline.apps import sync

            sync.replay()

    @contextlib.contextmanager
    def _log(self, name: str, parameters: dict[str, Any]) -> Iterator[tracking.EventLog]:
        with tracking.open_log("experiments", _plain(name).replace(" ", "-"), parameters) as events:
            events.follow = False
            yield events


def _plain(name: str) -> str:
    """Letters, digits and spaces: what MLflow and file names take."""
    return "".join(letter for letter in name if letter.isalnum() or letter in " -.").strip()


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a task, contestant and figure: mean, least and most over the seeds."""
    lines = []
    for row in rows:
        for place, (name, _) in enumerate(row["results"][0]["figures"]):
            values = [result["figures"][place][1] for result in row["results"]]
            goal = row["goal"] if place == 0 and row["net"] == rows[0]["net"] else ""
            summary = (name, statistics.fmean(values), min(values), max(values), len(values))
            lines.append(dict(zip(COLUMNS, (row["task"], goal, row["net"], row["results"][0]["parameters"], *summary), strict=True)))
    return lines


def overview(lines: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """One row a task: the first figure of each contestant, mean (least to most) where the seeds differ; and the columns."""
    first: dict[str, dict[str, Any]] = {}
    for line in lines:
        row = first.setdefault(line["task"], {"task": line["task"], "figure": line["figure"]})
        if line["figure"] == row["figure"]:
            spread = f" ({line['least']:.3g} to {line['most']:.3g})" if line["least"] < line["most"] else ""
            row[line["net"]] = f"{line['mean']:.3g}{spread}, n = {line['seeds']}, {line['parameters']:,} weights"
    columns = tuple(dict.fromkeys(column for row in first.values() for column in row))
    return list(first.values()), columns


def markdown(lines: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    """A table for a page; numbers to the right."""
    numeric = [any(isinstance(line.get(column), int | float) for line in lines) for column in columns]
    head = ["| " + " | ".join(columns) + " |", "|" + "|".join("---:" if right else "---" for right in numeric) + "|"]
    return "\n".join(head + ["| " + " | ".join(_text(line.get(column, "")) for column in columns) + " |" for line in lines]) + "\n"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def show(lines: list[dict[str, Any]]) -> None:
    """The first figure of each contestant on the terminal."""
    shown = Table(title="first figure of each", title_justify="left", box=SIMPLE_HEAD)
    for column in SHOWN:
        shown.add_column(column, justify="left" if column in SHOWN[:3] else "right")
    first = {(line["task"], line["net"]): line for line in reversed(lines)}
    for line in reversed(first.values()):
        shown.add_row(*(_text(line[column]) for column in SHOWN))
    Console(highlight=False).print(shown)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """One panel a task: each training's first figure, a column of dots a contestant."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    with rc_context({"svg.hashsalt": "quintet", "svg.fonttype": "none"}):
        figure = Figure(figsize=(3.2 * len(tasks), 3.4), layout="constrained")
        for place, task in enumerate(tasks):
            own = [row for row in rows if row["task"] == task]
            axes = figure.add_subplot(1, len(tasks), place + 1, title=task, ylabel=own[0]["results"][0]["figures"][0][0])
            for column, row in enumerate(own):
                values = [result["figures"][0][1] for result in row["results"]]
                axes.plot([column] * len(values), values, "o", alpha=0.5, color="C0" if column == 0 else "C7")
            axes.set_xticks(range(len(own)), [row["net"] for row in own], rotation=60, ha="right")
            axes.grid(alpha=0.25, axis="y")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
