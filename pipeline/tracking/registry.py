"""Packed models in MLflow's registry: one registered model a name, a version for each that was judged, `champion` for the best of them.

All of it happens in the sink, once the stage's outputs are published, and can be repeated: a model is found by the hash of its files.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from mlflow.entities import DatasetInput, LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from pipeline import paths
from pipeline.io import digest, read_json, sha256
from pipeline.tracking import logged as form
from pipeline.tracking.batch import Judged, result
from pipeline.tracking.champion import Contender, Rule, champion, rule
from pipeline.tracking.store import Store

ALIAS = "champion"
FILES, JUDGED_ON, JUDGED_AT, TASK = "files", "judged_on", "judged_at", "task"
"""Tags of a logged model: hash of its files, what it was judged on and when, its task."""
MOST = 10_000
"""Versions of a name that are looked at."""
HOW_MUCH = ("evaluation.windows", "evaluation.problems")
"""Parameters that say how much of the test split was read; figures of different parts are not compared."""


def register(store: Store, run_id: str, model: str, judged: Judged, asked: dict[str, str]) -> None:
    """Log the judged model, register it and let the rule decide; `asked` are the evaluation's parameters.

    Files that have changed since they were judged belong to a later run: nothing is registered, and why is printed.
    """
    directory = paths.quantized(model)
    files = judged.of(directory.as_posix())
    changed = [path for path, value in files.items() if not Path(path).exists() or sha256(Path(path)) != value]
    if changed or not files:
        print(f"{changed[0] if changed else directory} is not what was judged: model {model} is not registered")
        return
    with store.lock:
        logged = _logged(store, run_id, model, digest(files)) or _create(store, run_id, model, judged, asked)
        if logged.status != LoggedModelStatus.READY:
            _fill(store, run_id, logged, directory, judged, asked)
        _version(store, run_id, logged, judged.figures)
        crown(store, model)


def names(store: Store) -> list[str]:
    """Names of registered models that this project made."""
    return sorted({logged.name for logged in _search(store, "")})


def crown(store: Store, model: str) -> None:
    """Give the alias to the version that the rule in force says, and write the rule beside it."""
    contenders, tasks = [], {}
    for logged in _search(store, f"name = '{model}'"):
        figures = {metric.key: metric.value for metric in logged.metrics or []}
        contenders.append(Contender(logged.model_id, logged.tags[JUDGED_ON], int(logged.tags[JUDGED_AT]), figures))
        tasks[logged.model_id] = logged.tags[TASK]
    newest = max(contenders, key=lambda each: each.time, default=None)
    if newest is None:
        return
    declared = rule(model, tasks[newest.id])
    holder = champion(contenders, declared)
    versions = _versions(store, model)
    present = store.client.get_registered_model(model)
    if present.description != (description := _promise(declared)):
        store.client.update_registered_model(model, description)
    if holder and holder.id in versions and str(present.aliases.get(ALIAS)) != versions[holder.id]:
        store.client.set_registered_model_alias(model, ALIAS, versions[holder.id])


def _promise(declared: Rule) -> str:
    return f"Each version is a packed model that was judged. `@{ALIAS}` moves to one whose {declared}, on the same test data."


def _search(store: Store, condition: str) -> list[LoggedModel]:
    """Logged models that are whole; older pages are asked for until there are no more."""
    found, token = [], None
    while True:
        page = store.client.search_logged_models([store.experiment], condition or None, page_token=token)
        found += [logged for logged in page if logged.status == LoggedModelStatus.READY and JUDGED_ON in logged.tags]
        token = page.token
        if not token:
            return found


def _logged(store: Store, run_id: str, model: str, files: str) -> LoggedModel | None:
    """The logged model of a run that has these files, finished or begun."""
    condition = f"name = '{model}' AND source_run_id = '{run_id}' AND tags.{FILES} = '{files}'"
    return next(iter(store.client.search_logged_models([store.experiment], condition)), None)


def _create(store: Store, run_id: str, model: str, judged: Judged, asked: dict[str, str]) -> LoggedModel:
    config = read_json(paths.quantized(model) / "config.json")["quintet"]
    test = {path: value for path, value in judged.files.items() if path.endswith("/test.safetensors")}
    tags = {
        FILES: digest(judged.of(paths.quantized(model).as_posix())),
        JUDGED_ON: digest([sorted(test.items()), {name: asked.get(name) for name in HOW_MUCH}])[:16],
        JUDGED_AT: str(judged.time),
        TASK: str(config.get("task", "language")),
    }
    return store.client.create_logged_model(store.experiment, model, run_id, tags, {"family": config["family"]}, "packed")


def _fill(store: Store, run_id: str, logged: LoggedModel, directory: Path, judged: Judged, asked: dict[str, str]) -> None:
    """Files and figures of a logged model, beside the data set they were found on; it is whole once all of them are there."""
    with tempfile.TemporaryDirectory() as folder:
        form.save(directory, Path(folder) / "model", asked.get("evaluation.prompt"), run_id, logged.model_id)
        store.client.log_model_artifacts(logged.model_id, str(Path(folder) / "model"))
    inputs: list[DatasetInput] = store.client.get_run(run_id).inputs.dataset_inputs
    test = next((given.dataset for given in inputs if any(tag.value == "test" for tag in given.tags)), None)
    data: dict[str, Any] = {"dataset_name": test.name, "dataset_digest": test.digest} if test else {}
    metrics = [
        Metric(name, value, judged.time, 0, model_id=logged.model_id, run_id=run_id, **data) for name, value in judged.figures.items()
    ]
    store.client.log_batch(run_id, metrics)
    store.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
    store.client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)


def _version(store: Store, run_id: str, logged: LoggedModel, figures: dict[str, float]) -> None:
    """The version of the registered model that is this logged model, made if it is not there."""
    try:
        store.client.create_registered_model(logged.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    if logged.model_id not in _versions(store, logged.name):
        made = store.client.create_model_version(
            logged.name, logged.model_uri, run_id, description=result(figures), model_id=logged.model_id
        )
        link = json.dumps([{"name": logged.name, "version": made.version}])
        store.client.set_logged_model_tags(logged.model_id, {MLFLOW_MODEL_VERSIONS: link})


def _versions(store: Store, model: str) -> dict[str, str]:
    """The versions of a name by the logged model that each is."""
    found = store.client.search_model_versions(f"name = '{model}'", max_results=MOST)
    return {version.source.removeprefix("models:/"): str(version.version) for version in found}
