"""One event log's way into its MLflow run: what is new since the last time, each thing once."""

import tempfile
from pathlib import Path

from pipeline.io import sha256
from pipeline.tracking import batch as batches
from pipeline.tracking import pictures, registry
from pipeline.tracking.batch import Attachment, Head, Point
from pipeline.tracking.events import read
from pipeline.tracking.store import MARK, Store

DESCRIPTION = "mlflow.note.content"
"""Tag whose Markdown the UI shows as a run's description."""


class Sink:
    """`drain()` sends what the log has gained. A drain that fails half-way is repeated whole: all of it is idempotent.

    `position` says how many bytes of the log are in the store, `ended` whether its last event is.
    """

    def __init__(self, store: Store, log: Path, about: Head) -> None:
        self.store, self.log, self.about = store, log, about
        run = store.open(about)
        self.run_id: str = run.info.run_id
        self.position = int(run.data.tags.get(MARK + log.stem, 0))
        self.parameters = dict(run.data.params)
        self.history = store.history(run)
        events, size = read(log)
        self.asked = batches.parameters(events[0]["parameters"], about.model)
        self.ended = self.position == size and events[-1]["event"] == "end"

    def drain(self) -> int:
        """Send the events since `position`; returns their number."""
        events, reached = read(self.log, self.position)
        if not events:
            return 0
        batch = batches.translate(self.about, events)
        if events[0]["event"] == "begin" and self.about.stage == "train":
            self.store.set_status(self.run_id, "RUNNING")
        points = [point for point in batch.points if self._is_new(point)]
        new = {name: value for name, value in batch.parameters.items() if name not in self.parameters}
        # MLflow keeps a parameter for ever, so that another value of a later stage can only be a tag
        changed = {f"changed.{name}": value for name, value in batch.parameters.items() if self.parameters.get(name, value) != value}
        self.store.log(self.run_id, points, new, self.store.nested(batch.tags | changed))
        self.store.describe(self.run_id, batch)
        for attachment in batch.attachments:
            self._attach(attachment)
        if batch.judged:
            registry.register(self.store, self.run_id, self.about.model, batch.judged, self.asked)
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
        self.store.attach(self.run_id, path, attachment.folder)
        if path.name == "README.md":
            self.store.log(self.run_id, [], {}, {DESCRIPTION: _without_header(path.read_text(encoding="utf-8"))})
        if path.suffix == ".csv":
            with tempfile.TemporaryDirectory() as folder:
                for picture in pictures.draw(path, Path(folder)):
                    self.store.attach(self.run_id, picture, attachment.folder)


def _without_header(card: str) -> str:
    """A model card's Markdown without the YAML between two `---` that begins it."""
    parts = card.split("---\n", 2)
    return parts[2].strip() if len(parts) == 3 and not parts[0] else card
