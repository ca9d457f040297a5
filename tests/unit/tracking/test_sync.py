"""Logs into MLflow, seen through MLflow's own client: one row a model that compares everything, each thing once."""

import hashlib
import json
import os
from pathlib import Path

import mlflow.data
import pytest
from mlflow.tracking import MlflowClient

from pipeline.apps import sync
from pipeline.errors import UserError
from pipeline.tracking import open_log
from tests.unit.tracking.conftest import SPLITS, evaluate, loss, train


def client() -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{Path.cwd()}/mlflow.db")


def runs() -> list:
    experiment = client().get_experiment_by_name("quintet")
    return client().search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])


def artifacts(run: str, folder: str | None = None) -> set[str]:
    found = client().list_artifacts(run, folder)
    return set().union(*(artifacts(run, item.path) if item.is_dir else {item.path} for item in found))


def curve(run: str, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client().get_metric_history(run, name)]


def contents() -> list:
    """Everything in the store but the marks of how much of each log is there."""
    return [
        (r.info.run_id, r.data.params, r.data.metrics, {k: curve(r.info.run_id, k) for k in r.data.metrics}, r.data.tags) for r in runs()
    ]


def test_one_row_compares_everything(project):
    train("aaaa1111")
    evaluate("aaaa1111")
    sync.replay()
    (run,) = runs()
    assert run.info.run_name == "shakespeare-aaaa11" and run.info.status == "FINISHED"
    assert run.data.params == {
        "seed": "1",
        "family": "transformer",
        "training.learning_rate": "0.004",
        "training.steps": "30",
        "evaluation.problems": "0",
    }
    assert curve(run.info.run_id, "train/loss") == [(step, loss(0.004, step)) for step in (10, 20, 30)]
    assert curve(run.info.run_id, "train/tokens") == [(10, 7680.0), (20, 15360.0), (30, 23040.0)]
    assert (run.data.metrics["float/loss"], run.data.metrics["quantized/loss"]) == (1.5, 1.6)
    assert run.data.metrics["system/process_memory_megabytes"] > 5
    inputs = {given.tags[0].value: given.dataset for given in run.inputs.dataset_inputs}
    assert {split: (data.name, data.digest) for split, data in inputs.items()} == {
        s: ("plays", hashlib.md5(SPLITS[s]).hexdigest()) for s in SPLITS
    }
    assert json.loads(inputs["train"].profile) == {"tokens": 19}
    assert mlflow.data.get_source(inputs["train"]).uri == "data/ready/plays/train.safetensors"
    assert artifacts(run.info.run_id) >= {
        "metrics/train.json",
        "metrics/evaluate.json",
        "plots/train.csv",
        "plots/train.png",
        "samples/00000030.txt",
        "model_card/README.md",
    }
    assert run.data.tags["mlflow.note.content"] == "# shakespeare" and run.data.tags["runner"] == "shell"
    experiment = client().get_experiment(run.info.experiment_id)
    view = json.loads(json.loads(experiment.tags["mlflow.sharedViewState.results"])["state"])
    assert "tags.`result`" in view["selectedColumns"]


def test_two_trainings_are_two_runs(project):
    train("aaaa1111", rate=0.004)
    train("bbbb2222", rate=0.008)
    sync.replay()
    first, second = runs()
    differ = {name for name in first.data.params if first.data.params[name] != second.data.params[name]}
    assert differ == {"training.learning_rate"}
    assert second.data.metrics["train/loss"] < first.data.metrics["train/loss"]


def test_a_replay_adds_nothing(project):
    train("aaaa1111")
    evaluate("aaaa1111")
    sync.replay()
    before = contents()
    sync.replay()
    assert contents() == before
    (run,) = runs()
    for name in run.data.tags:  # as if the marks had been lost on the way
        if name.startswith("mlflow.quintet."):
            client().set_tag(run.info.run_id, name, "0")
    sync.replay()
    assert contents() == before


def test_the_same_training_again_is_the_same_row(project):
    train("aaaa1111")
    sync.replay()
    before = contents()[0]
    train("aaaa1111")
    sync.replay()
    (after,) = contents()
    assert after[0] == before[0] and after[3]["train/loss"] == before[3]["train/loss"]


def test_a_killed_training_goes_on_in_its_row(project):
    train("aaaa1111", killed_at=20)
    (log,) = Path(".quintet/events").glob("*.jsonl")
    log.write_text(log.read_text().replace(f'"pid": {os.getpid()}', '"pid": 4194304'))  # above the largest process id
    sync.replay()
    (run,) = runs()
    assert run.info.status == "KILLED" and curve(run.info.run_id, "train/loss") == [(10, loss(0.004, 10))]
    train("aaaa1111")
    sync.replay()
    (again,) = runs()
    assert again.info.run_id == run.info.run_id and again.info.status == "FINISHED"
    assert curve(run.info.run_id, "train/loss") == [(step, loss(0.004, step)) for step in (10, 20, 30)]


def test_changed_parameters_of_a_later_stage_are_tags(project):
    """MLflow keeps a parameter's first value for ever; figures that were made with another one say so."""
    train("aaaa1111")
    evaluate("aaaa1111", value=1.5, problems=0)
    evaluate("aaaa1111", value=1.4, problems=500)
    sync.replay()
    (run,) = runs()
    assert run.data.params["evaluation.problems"] == "0" and run.data.tags["changed.evaluation.problems"] == "500"
    assert run.data.metrics["float/loss"] == 1.4


def test_a_deleted_run_stays_deleted(project):
    train("aaaa1111")
    sync.replay()
    client().delete_run(runs()[0].info.run_id)
    sync.replay()
    assert runs() == []


def test_a_file_that_changed_since_is_not_attached(project, capsys):
    train("aaaa1111")
    Path("plots/shakespeare/train.csv").write_text("step\n")
    sync.replay()
    assert "plots/train.csv" not in artifacts(runs()[0].info.run_id)
    assert "plots/shakespeare/train.csv is not what it was" in capsys.readouterr().out


def test_a_store_that_does_not_answer_is_a_sentence(project, monkeypatch):
    train("aaaa1111")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"MLflow.s store http://127[.]0[.]0[.]1:9 does not answer"):
        sync.replay()


def test_temporary_experiment_folders_use_the_repository_s_store(project, monkeypatch):
    (project / "temporary").mkdir()
    monkeypatch.setenv("DVC_ROOT", str(project))
    monkeypatch.chdir(project / "temporary")
    train("aaaa1111")
    sync.replay()
    assert (project / "mlflow.db").exists() and list(project.glob(".quintet/events/*.jsonl"))
    assert list(project.glob("mlartifacts/*/artifacts/metrics/train.json"))


def test_a_run_with_a_parent_key_lies_below_it(project):
    for key, tags in (("aaaa1111", {"mlflow.runName": "all"}), ("bbbb2222", {"parent_key": "aaaa1111", "mlflow.runName": "one of them"})):
        with open_log("study", "shakespeare", {}) as log:
            log.run(key)
            log.tags(tags)
    sync.replay()
    above, below = runs()
    assert (above.info.run_name, below.info.run_name) == ("all", "one of them")
    assert below.data.tags["mlflow.parentRunId"] == above.info.run_id and "mlflow.parentRunId" not in above.data.tags


def test_points_of_a_sweep_lie_below_one_run(project, monkeypatch):
    """Each is a row of its own, also where two have a training in common, which only the first of them did."""
    monkeypatch.setenv("DVC_EXP_NAME", "widths-1")
    train("aaaa1111")
    evaluate("aaaa1111", value=1.5)
    monkeypatch.setenv("QUINTET_EXPERIMENT", "widths-2")
    evaluate("aaaa1111", value=1.4)
    monkeypatch.setenv("QUINTET_EXPERIMENT", "bold")
    train("bbbb2222")
    sync.replay()
    above, *points, alone = sorted(runs(), key=lambda run: ("bbbb2222" in str(run.data.tags), run.data.tags.get("experiment", "")))
    assert [run.info.run_name for run in (above, *points)] == ["widths", "widths-1 shakespeare", "widths-2 shakespeare"]
    assert {run.data.tags["mlflow.parentRunId"] for run in points} == {above.info.run_id}
    assert [run.data.metrics["float/loss"] for run in points] == [1.5, 1.4]
    assert alone.info.run_name == "shakespeare-bbbb22" and "mlflow.parentRunId" not in alone.data.tags


def test_tables_are_made_whole_or_not_at_all(project):
    """A sink that was killed while it made them leaves a part, which the next one makes anew."""
    Path("mlflow.db").unlink()
    Path("mlflow.db.part").write_bytes(b"half of the tables")
    sync.open_store()
    assert Path("mlflow.db").exists() and not Path("mlflow.db.part").exists()
