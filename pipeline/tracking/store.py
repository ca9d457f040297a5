"""The MLflow store: one experiment, one run a training key. A call may fail at any time and is then repeated, so each is idempotent."""

import json
import time
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from pipeline import paths
from pipeline.tracking import location, view
from pipeline.tracking.batch import Batch, Head, Point, parent_key

CHUNK, POINTS = 90, 800
"""Parameters, tags and points a request: MLflow takes at most 100 of the first two, and 1000 of all together."""

MARK = "mlflow.quintet."
"""Tag that says how many bytes of a log are in the store; the UI hides tags that begin with `mlflow.`."""


class Store:
    """The store at `location.uri()`; making it raises MLflow's or SQLAlchemy's errors where it cannot be reached."""

    def __init__(self) -> None:
        self.lock = FileLock(paths.private().resolve() / "locks" / "mlflow.lock")
        Path(self.lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        with self.lock:  # SQLite's tables and the experiment are made once, however many sinks start together
            _make_tables(location.uri())
            self.client = MlflowClient(tracking_uri=location.uri(), registry_uri=location.uri())
            self.experiment = self._experiment()

    def _experiment(self) -> str:
        found = self.client.get_experiment_by_name(location.EXPERIMENT)
        if found is None:
            try:
                return self._new_experiment()
            except MlflowException as error:  # of a server, another machine may have made it meanwhile
                found = self.client.get_experiment_by_name(location.EXPERIMENT)
                if found is None:
                    raise error
        for name, value in view.tags().items():
            if found.tags.get(name) != value:
                self.client.set_experiment_tag(found.experiment_id, name, value)
        return str(found.experiment_id)

    def _new_experiment(self) -> str:
        tags = view.tags() | {"mlflow.experimentKind": "custom_model_development"}  # not language-model traces, the UI's other half
        return str(self.client.create_experiment(location.EXPERIMENT, artifact_location=location.artifacts(), tags=tags))

    def find(self, training_key: str, view: int = ViewType.ACTIVE_ONLY) -> Run | None:
        """The oldest run of a training key."""
        runs = self.client.search_runs([self.experiment], f"tags.training_key = '{training_key}'", view, 1, ["attributes.start_time ASC"])
        return runs[0] if runs else None

    def is_deleted(self, training_key: str) -> bool:
        """Whether somebody deleted the run of a training key, and none took its place."""
        return self.find(training_key) is None and self.find(training_key, ViewType.DELETED_ONLY) is not None

    def open(self, about: Head) -> Run:
        """The run that a log belongs to, made if it is not there. Only its training says when it ends."""
        with self.lock:
            if about.sweep:
                self.sweep(about.sweep, about.began)
            found = self.find(about.training_key)
            if found:
                return found
            tags = {"training_key": about.training_key}
            run = self.client.create_run(self.experiment, start_time=about.began, tags=tags, run_name=about.run_name)
        if about.stage != "train":
            self.client.set_terminated(run.info.run_id, "FINISHED", about.began)
        return run

    def sweep(self, name: str, began: int) -> Run:
        """The run above the points of a sweep, made if it is not there. To be called by one process at a time."""
        key = parent_key(name)
        if not self.find(key):
            run = self.client.create_run(self.experiment, start_time=began, tags={"training_key": key, "sweep": name}, run_name=name)
            self.client.set_terminated(run.info.run_id, "FINISHED", began)
        found = self.find(key)
        assert found
        return found

    def history(self, run: Run) -> dict[tuple[str, int], tuple[int, float]]:
        """The newest time and value of every point of a run's curves, by name and step."""
        newest: dict[tuple[str, int], tuple[int, float]] = {}
        for name in run.data.metrics:
            for point in self.client.get_metric_history(run.info.run_id, name):
                place = name, point.step
                newest[place] = max(newest.get(place, (0, 0.0)), (point.timestamp, point.value))
        return newest

    def log(self, run_id: str, points: list[Point], parameters: dict[str, str], tags: dict[str, str]) -> None:
        """Points, parameters and tags in batches. MLflow drops a point that it has (same name, step, time and value)."""
        metrics = [Metric(p.name, p.value, p.time, p.step) for p in points]
        entries = [Param(*item) for item in parameters.items()], [RunTag(*item) for item in tags.items()]
        rounds = max(-(-len(metrics) // POINTS), *(-(-len(entry) // CHUNK) for entry in entries))
        for i in range(rounds):
            some, points_now = slice(i * CHUNK, (i + 1) * CHUNK), slice(i * POINTS, (i + 1) * POINTS)
            self.client.log_batch(run_id, metrics[points_now], entries[0][some], entries[1][some])

    def nested(self, tags: dict[str, str]) -> dict[str, str]:
        """The tags, and with them MLflow's own for a run below another, whose training key is the tag `parent_key`."""
        parent = self.find(tags["parent_key"]) if "parent_key" in tags else None
        return {**tags, "mlflow.parentRunId": parent.info.run_id} if parent else tags

    def attach(self, run_id: str, path: Path, folder: str) -> None:
        """A file or folder as artifact; one of the same name is replaced."""
        log = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
        log(run_id, str(path), folder or None)

    def describe(self, run_id: str, batch: Batch) -> None:
        """Data-set inputs and texts."""
        if batch.datasets:
            self.client.log_inputs(run_id, [_input(dataset) for dataset in batch.datasets])
        for name, text in batch.texts.items():
            self.client.log_text(run_id, text, name)

    def set_status(self, run_id: str, status: str, moment: int | None = None) -> None:
        """RUNNING, or how the run ended, with the time in milliseconds."""
        if status == "RUNNING":
            self.client.update_run(run_id, status)
        else:
            self.client.set_terminated(run_id, status, moment or int(time.time() * 1000))


def _make_tables(uri: str) -> None:
    """MLflow's tables in a SQLite file that is not there yet: made beside it, since a sink that is killed meanwhile leaves half of them."""
    scheme, path = "sqlite:///", Path(uri.removeprefix("sqlite:///"))
    if uri.startswith(scheme) and not path.exists():
        part = path.with_name(f"{path.name}.part")
        part.unlink(missing_ok=True)
        MlflowClient(tracking_uri=f"{scheme}{part}").search_experiments(max_results=1)
        part.replace(path)


def _input(dataset: dict[str, Any]) -> DatasetInput:
    """A data set as `mlflow.data` has it: its digest is the file's name in dvc.lock, its source the file."""
    source, profile = json.dumps({"uri": dataset["source"]}), json.dumps(dataset["counts"])
    entity = Dataset(dataset["name"], dataset["digest"], "local", source, profile=profile)
    return DatasetInput(entity, [InputTag("mlflow.data.context", dataset["split"])])
