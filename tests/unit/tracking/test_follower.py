"""The child process that feeds MLflow: it keeps up, dies with its stage, and whatever happens to it never reaches the stage."""

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from mlflow.tracking import MlflowClient

from pipeline.tracking import events, follower, open_log
from tests.unit.tracking.conftest import evaluate, loss, train

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture
def live(project, monkeypatch):
    monkeypatch.setenv("QUINTET_TRACKING", "on")
    return project


def script(body: str) -> list[str]:
    preamble = f"import sys; sys.path.insert(0, {str(PROJECT)!r})\nfrom tests.unit.tracking.conftest import *\n"
    return [sys.executable, "-c", preamble + body]


def rows(project: Path) -> dict:
    client = MlflowClient(tracking_uri=f"sqlite:///{project}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("quintet").experiment_id])
    return {run.data.tags["training_key"]: (run, client.get_metric_history(run.info.run_id, "train/loss")) for run in runs}


def test_a_stage_s_end_finds_everything_in_the_store(live, capfd):
    train("aaaa1111")
    run, points = rows(live)["aaaa1111"]
    assert [point.value for point in points] == [loss(0.004, step) for step in (10, 20, 30)] and run.info.status == "FINISHED"
    assert list(live.glob(".quintet/events/*.txt")) == [] and capfd.readouterr().err == ""


@pytest.mark.slow
def test_several_at_once_on_a_store_that_is_not_there_yet(live):
    """Four stages start together: tables and experiment are made once, one run each, and no point is lost."""
    (live / "mlflow.db").unlink()
    bodies = [f"train('{i}' * 8, rate=0.00{i}, steps=3000, name='model{i}')" for i in range(1, 5)]
    processes = [subprocess.Popen(script(body), stderr=subprocess.PIPE, text=True) for body in bodies]
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    if any(said):  # on a busy machine a sink may be too late, and says what to do
        assert all("python -m pipeline sync" in text for text in said if text)
        subprocess.run([sys.executable, "-m", "pipeline", "sync"], check=True, env={"PYTHONPATH": str(PROJECT)})
    found = rows(live)
    assert sorted(found) == [str(i) * 8 for i in range(1, 5)]
    assert all(sorted(point.step for point in points) == list(range(10, 3001, 10)) for _, points in found.values())


def test_a_store_that_is_not_there(live, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    began = time.monotonic()
    train("aaaa1111")
    assert time.monotonic() - began < follower.PATIENCE + 15
    assert "`python -m pipeline sync`" in capfd.readouterr().err
    (log,) = live.glob(".quintet/events/*.jsonl")
    assert events.read(log)[0][-1]["status"] == "finished" and Path("metrics/shakespeare/train.json").exists()


def test_a_locked_store_costs_a_bounded_time(live, monkeypatch, capfd):
    monkeypatch.setattr(follower.Follower.finish, "__defaults__", (3.0,))
    lock = sqlite3.connect(live / "mlflow.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    evaluate("aaaa1111")
    assert time.monotonic() - began < 10
    assert "MLflow is behind after 3 s: `python -m pipeline sync`" in capfd.readouterr().err
    assert not [p for p in psutil.Process().children(recursive=True) if "--follow" in p.cmdline()]
    lock.close()


def test_the_child_dies_with_its_stage(live):
    body = (
        "import time\nwith open_log('train', 'm', {}) as log:\n    log.run('aaaa1111')\n    print('go', flush=True)\n    time.sleep(60)\n"
    )
    stage = subprocess.Popen(script(body), stdout=subprocess.PIPE, text=True)
    assert stage.stdout.readline() == "go\n"
    (child,) = psutil.Process(stage.pid).children()
    assert "--follow" in child.cmdline()
    time.sleep(0.5)
    stage.send_signal(signal.SIGKILL)
    stage.wait()
    child.wait(timeout=10)
    assert not child.is_running()


def test_off_means_no_child(project):
    with open_log("quantize", "m", {}) as log:
        log.run("aaaa1111")
        assert log.follower is None
