"""Event log first, MLflow as its sink (to be completed)."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.io import digest


class EventLog:
    """Append-only JSONL: everything volatile about one run of one stage."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.file = path.open("a", encoding="utf-8")

    def emit(self, kind: str, **fields: Any) -> None:
        self.file.write(json.dumps({"event": kind, "time": time.time(), **fields}) + "\n")
        self.file.flush()

    def run(self, training_key: str) -> None:
        """Say which MLflow run this stage's events belong to."""
        self.emit("run", training_key=training_key)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Numbers at a step (for training: the optimizer step)."""
        self.emit("metrics", step=step, values=dict(values))

    def tags(self, values: Mapping[str, str]) -> None:
        self.emit("tags", values=dict(values))

    def dataset(self, name: str, digest: str, source: str, split: str) -> None:
        self.emit("dataset", name=name, digest=digest, source=source, split=split)

    def artifact(self, path: Path, folder: str = "") -> None:
        """A published output to attach to the run."""
        self.emit("artifact", path=str(path), folder=folder)

    def text(self, name: str, text: str) -> None:
        """A small text artifact, such as a sample."""
        self.emit("text", name=name, text=text)

    def code(self, files: Mapping[str, str]) -> None:
        self.emit("code", files=dict(files))

    def published(self, outputs: Sequence[Path]) -> None:
        self.emit("published", outputs=[str(path) for path in outputs])


@contextlib.contextmanager
def open_log(stage: str, target: str | None, parameters: Mapping[str, Any]) -> Iterator[EventLog]:
    """The event log of one stage's run, begun and ended."""
    name = f"{stage}-{target or 'all'}-{digest(parameters)[:12]}.jsonl"
    log = EventLog(paths.private() / "events" / name)
    log.emit("begin", stage=stage, target=target, parameters=dict(parameters))
    try:
        yield log
    except BaseException as error:
        log.emit("end", status="failed", reason=type(error).__name__)
        raise
    else:
        log.emit("end", status="finished")
    finally:
        log.file.close()
