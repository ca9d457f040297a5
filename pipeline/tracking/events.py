"""The event log: append-only lines of JSON, one log a run of a stage; whole lines survive a kill, since each is one write to the kernel."""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.errors import UserError
from pipeline.io import md5, read_json, sha256
from pipeline.progress import say
from pipeline.tracking import location, origin, system
from pipeline.tracking.follower import Follower

ATTACHED = (paths.METRICS, paths.PLOTS)
"""Published files below these are attached to the MLflow run without a stage's asking, and so are model cards."""


class EventLog:
    """Everything volatile about one run of one stage. Nothing here raises into the stage once the log is open."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.usable = True
        self.follow = False
        self.follower: Follower | None = None
        self.attachments: list[tuple[Path, str]] = []

    def emit(self, kind: str, **fields: Any) -> None:
        """Append one event; a full disk ends the log, not the stage."""
        line = json.dumps({"event": kind, "time": time.time(), **fields}).encode() + b"\n"
        try:
            if self.usable and os.write(self.handle, line) != len(line):
                raise OSError("only a part of a line was written")
        except OSError as error:
            self.usable = False
            say(f"the event log {self.path} cannot be written ({error}): this run goes on without it")

    def run(self, training_key: str) -> None:
        """Say which MLflow run this stage's events belong to; a log that never says so stays out of MLflow."""
        self.emit("run", training_key=training_key)
        if self.follow and self.follower is None:
            self.follower = Follower(self.path)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Numbers at a step (for training: the optimizer step), named `group/name`, with the unit in the name where there is one."""
        self.emit("metrics", step=step, values={name: float(value) for name, value in values.items()})

    def tags(self, values: Mapping[str, str]) -> None:
        self.emit("tags", values={name: str(value) for name, value in values.items()})

    def dataset(self, name: str, path: Path, split: str, counts: Mapping[str, int]) -> None:
        """A split of a data set that went in, by its file's MD5 (as in dvc.lock), and how much of what it holds."""
        self.emit("dataset", name=name, digest=md5(path), source=str(path), split=split, counts=dict(counts))

    def artifact(self, path: Path, folder: str = "") -> None:
        """An output to attach to the run once it is published (metrics and plots are attached without asking)."""
        self.attachments.append((path, folder))

    def text(self, name: str, text: str) -> None:
        """A small text artifact, such as a sample."""
        self.emit("text", name=name, text=text)

    def code(self, files: Mapping[str, str]) -> None:
        """Hashes of the code that ran, by path."""
        self.emit("code", files=dict(files))

    def published(self, outputs: Sequence[Path]) -> None:
        """The stage's outputs are in their places: their figures go into the log, so that a replay needs no file for them."""
        self.emit("published", outputs=[str(path) for path in outputs])
        for path in outputs:
            if path.suffix == ".json" and paths.METRICS in path.parents:
                self.emit("results", stage=path.stem, values=read_json(path))
        attached = [(path, path.parts[0]) for path in outputs if any(folder in path.parents for folder in ATTACHED)]
        cards = [(card, "model_card") for path in outputs if path.is_dir() for card in sorted(path.rglob("README.md"))]
        for path, folder in [*attached, *cards, *self.attachments]:
            self.emit("artifact", path=str(path), folder=folder, sha256=sha256(path))

    def end(self, status: str, reason: str = "") -> None:
        """Close the log, then give the sink a bounded time to catch up."""
        self.emit("end", status=status, reason=reason)
        os.close(self.handle)
        if self.follower:
            self.follower.finish()


@contextlib.contextmanager
def open_log(stage: str, target: str | None, parameters: Mapping[str, Any]) -> Iterator[EventLog]:
    """The event log of one stage's run, begun and ended; with tracking on, a child process brings it into MLflow meanwhile."""
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    log = EventLog(location.logs() / f"{moment}-{stage}-{target or 'all'}-{os.getpid()}.jsonl")
    log.follow = location.enabled()
    log.emit("begin", stage=stage, target=target, parameters=dict(parameters), **origin.describe())
    try:
        with system.sampled(log.metrics) if stage == "train" else contextlib.nullcontext():
            yield log
    except BaseException as error:
        log.end("stopped" if isinstance(error, KeyboardInterrupt) else "failed", f"{type(error).__name__}: {error}")
        raise
    else:
        log.end("finished")


def read(path: Path, position: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Events from byte `position` on, and the position after the last whole line; what a kill left of a last line is not read.

    Raises `UserError` where a line is not JSON.
    """
    with path.open("rb") as file:
        file.seek(position)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    try:
        return [json.loads(line) for line in whole.splitlines()], position + len(whole)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the event log {path} is damaged ({error}): delete it, and MLflow goes without what it would say") from None
