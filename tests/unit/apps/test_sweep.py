"""`python -m pipeline sweep`: points of DVC and of Snakemake beside each other, the front, the pictures, the run above them."""

import csv
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient

from pipeline import io
from pipeline.apps import sweep, sweep_charts
from pipeline.errors import UserError
from tests.workspace import AUTHOR, PROJECT

LOSSES = {(0.001, 16): (2.0, 9_000), (0.001, 32): (1.5, 20_000), (0.004, 16): (1.8, 9_100), (0.004, 32): (1.6, 20_000)}
STAGES = ("train", "quantize", "convert", "evaluate")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(PROJECT / "presets/smoke.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    for name, value in {**AUTHOR, "QUINTET_TRACKING": "on"}.items():
        monkeypatch.setenv(name, value)
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "QUINTET_HOME", "QUINTET_EXPERIMENT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    git("init", "--quiet")
    return tmp_path


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def fill(folder: Path, rate: float, width: int, stages: tuple[str, ...] = STAGES) -> None:
    """What an experiment leaves in its working copy."""
    parameters = yaml.safe_load((PROJECT / "presets/smoke.yaml").read_text())
    parameters["models"]["calculator"]["training"]["learning_rate"] = rate
    parameters["models"]["calculator"]["architecture"]["hidden_size"] = width
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters))
    loss, size = LOSSES[rate, width]
    judged = {"float": {"loss": loss - 0.1, "bytes": 9 * size}, "quantized": {"loss": loss, "bytes": size}}
    values = {"train": {"parameters": 100 * width}, "quantize": {"quantized": {"bytes": size}}, "convert": {}, "evaluate": judged}
    for stage in stages:
        io.write_json(folder / f"metrics/calculator/{stage}.json", values[stage])


def experiment(name: str, rate: float, width: int) -> None:
    """An experiment as DVC keeps it: a commit that only a reference below refs/exps leads to."""
    fill(Path(), rate, width)
    git("add", "params.yaml", "metrics")
    commit = git("commit-tree", git("write-tree"), "-m", name)
    git("update-ref", f"refs/exps/{commit[:2]}/{commit[2:]}/{name}", commit)


def grid(make: object) -> None:
    for number, (rate, width) in enumerate(LOSSES, 1):
        make(number, rate, width)  # type: ignore[operator]


def rows() -> list[dict[str, str]]:
    with Path("sweeps/rates/sweep.csv").open() as file:
        return list(csv.DictReader(file))


def test_points_of_dvc_become_a_table_pictures_and_runs(project: Path, capsys: pytest.CaptureFixture) -> None:
    grid(lambda number, rate, width: experiment(f"rates-{number}", rate, width))
    sweep.show("rates", None)
    found = rows()
    assert [(r["training.learning_rate"], r["architecture.hidden_size"], r["bytes"], r["loss"]) for r in found] == [
        (str(rate), str(width), str(size), str(loss)) for (rate, width), (loss, size) in LOSSES.items()
    ]
    assert [row["front"] for row in found] == ["yes", "yes", "yes", ""]
    assert "9.1 kB" in capsys.readouterr().out
    client = MlflowClient(tracking_uri=f"sqlite:///{project}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("quintet").experiment_id])
    (above,) = [run for run in runs if run.info.run_name == "rates"]
    below = {run.info.run_name: run for run in runs if run.data.tags.get("mlflow.parentRunId") == above.info.run_id}
    assert sorted(below) == [f"rates-{number} calculator" for number in range(1, 5)] and len(runs) == 5
    second = below["rates-2 calculator"].data
    assert second.params["training.learning_rate"] == "0.001" and second.params["architecture.hidden_size"] == "32"
    assert (second.metrics["quantized/loss"], second.metrics["quantized/bytes"]) == (1.5, 20_000)
    assert {item.path for item in client.list_artifacts(above.info.run_id, "sweep")} == {f"sweep/{name}" for name in sweep.OUTPUTS}
    pictures = [Path("sweeps/rates", name).read_bytes() for name in sweep.OUTPUTS[1:]]
    sweep.show("rates", "calculator")
    assert [Path("sweeps/rates", name).read_bytes() for name in sweep.OUTPUTS[1:]] == pictures
    assert len(client.search_runs([above.info.experiment_id])) == 5


def test_points_of_snakemake_lie_in_folders(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_TRACKING", "off")
    grid(lambda number, rate, width: fill(Path(f"sweeps/rates/rates-{number}"), rate, width))
    fill(Path("sweeps/rates/rates-5"), 0.001, 16, STAGES[:2])  # on its way
    sweep.show("rates", None)
    assert [row["point"] for row in rows()] == ["1", "2", "3", "4"]


def test_a_store_that_is_down_costs_a_line(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    grid(lambda number, rate, width: fill(Path(f"sweeps/rates/rates-{number}"), rate, width))
    sweep.show("rates", None)
    assert "`python -m pipeline sync` brings the sweep into it later" in capsys.readouterr().err and len(rows()) == 4


def test_what_cannot_be_compared_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_TRACKING", "off")
    with pytest.raises(UserError, match="'rates' has 0 finished experiments, and two are needed: `dvc exp run --queue --name rates"):
        sweep.show("rates", None)
    for number in (1, 2):
        fill(Path(f"sweeps/rates/rates-{number}"), 0.001, 16)
    with pytest.raises(UserError, match="does not say which model"):
        sweep.show("rates", None)
    with pytest.raises(UserError, match="equal parameters of 'calculator'"):
        sweep.show("rates", "calculator")
    with pytest.raises(UserError, match="0 experiments of the sweep 'rates' evaluated 'realnet'"):
        sweep.show("rates", "realnet")


def test_axes_are_spread_by_value_logarithm_or_order() -> None:
    assert sweep_charts._heights([1.0, 2.0, 3.0]) == [0, 0.5, 1]
    assert sweep_charts._heights([0.001, 0.01, 0.1]) == pytest.approx([0, 0.5, 1])
    assert sweep_charts._heights(["mse", "qat", "mse"]) == [0, 1, 0]
    assert sweep_charts._heights([None, True]) == [0, 1] and sweep_charts._heights([4, 4]) == [0.5, 0.5]
