"""One event log's way into its MLflow run: what is new since the last time, each thing once."""

import tempfile
from pathlib import Path

from mlflow.entities import Run

from pipeline.io import sha256
from pipeline.tracking import batch as batches
from pipeline.tracking import pictures
from pipeline.tracking.batch import Attachment, Head, Point
from pipeline.tracking.events import read
from pipeline.tracking.store import MARK, Store


class Sink:
    """`drain()` sends what the log has gained. A drain that fails half-way is repeated whole: all of it is idempotent."""

    def __init__(self, store: Store, log: Path, about: Head) -> None:
        self.store, self.log, self.about = store, log, about
        run = store.open(about)
        self.run_id: str = run.info.run_id
        self.position = position(run, log)
        self.parameters = dict(run.data.params)
        self.history = store.history(run)
        self.ended = False

    def drain(self) -> int:
        """Send the events since `position`; returns their number. `ended` says afterwards whether the log's last event is in the store."""
        events, reached = read(self.log, self.position)
        if not events:
            return 0
        batch = batches.translate(self.about, events)
        if events[0]["event"] == "begin" and self.about.stage == "train":
            self.store.set_status(self.run_id, "RUNNING")
        points = [point for point in batch.points if self._is_new(point)]
        new = {name: value for name, value in batch.parameters.items() if name not in self.parameters}
        changed = {
            f"changed.{n}": v for n, v in batch.parameters.items() if self.parameters.get(n, v) != v
        }  # MLflow's parameters are for ever
        self.store.log(self.run_id, points, new, batch.tags | changed)
        self.store.attach(self.run_id, batch)
        for attachment in batch.attachments:
            self._attach(attachment)
        if batch.ended:
            self.store.set_status(self.run_id, *batch.ended)
        self.store.log(self.run_id, [], {}, {MARK + self.log.stem: str(reached)})
        self.position, self.ended = reached, events[-1]["event"] == "end"
        self.parameters |= new
        self.history |= {(point.name, point.step): (point.time, point.value) for point in points}
        return len(events)

    def _is_new(self, point: Point) -> bool:
        """Whether a point adds to its curve: not a replay, and not the same value that a resumed training found again at that step."""
        moment, value = self.history.get((point.name, point.step), (-1, 0.0))
        return point.time > moment and (moment < 0 or point.value != value)

    def _attach(self, attachment: Attachment) -> None:
        """Attach a file, and curves of a CSV as a picture; a file that has changed since belongs to a later run and is left out."""
        path = Path(attachment.path)
        if not path.exists() or sha256(path) != attachment.sha256:
            print(f"{path} is not what it was when {self.log.name} was written: it is not attached")
            return
        attach = self.store.client.log_artifacts if path.is_dir() else self.store.client.log_artifact
        attach(self.run_id, str(path), attachment.folder or None)
        with tempfile.TemporaryDirectory() as folder:
            for picture in pictures.draw(path, Path(folder)):
                self.store.client.log_artifact(self.run_id, str(picture), attachment.folder or None)


def position(run: Run, log: Path) -> int:
    """How many bytes of a log are in its run."""
    return int(run.data.tags.get(MARK + log.stem, 0))
