"""A sweep by DVC's queue and the same by Snakemake, two points of the preset `smoke`: equal figures, and one run above both in MLflow."""

import csv
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sweeps")]
KEY, RATES = "models.calculator.training.learning_rate", ("0.001", "0.004")
ON = {"QUINTET_TRACKING": "on", "OMP_NUM_THREADS": "1"}
OUTPUTS = {"sweep.csv", "pareto.svg", "parallel.svg"}


@pytest.fixture(scope="module")
def by_dvc(dvc_run: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """As README says it."""
    workspace = dvc_run.copy(tmp_path_factory.mktemp("sweep-by-dvc") / "quintet")
    said = workspace.run("dvc", "exp", "run", "--queue", "--name", "rates", "-S", f"{KEY}={','.join(RATES)}", "evaluate@calculator")
    assert said.count("Queued experiment 'rates-") == len(RATES)
    workspace.run("dvc", "exp", "run", "--run-all", **ON)
    workspace.pipeline("sweep", "rates", **ON)
    return workspace


@pytest.fixture(scope="module")
def by_snakemake(dvc_run: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = dvc_run.copy(tmp_path_factory.mktemp("sweep-by-snakemake") / "quintet")
    workspace.run(*command(), **ON)
    return workspace


def command(*options: str) -> list[str]:
    configured = ["sweep=rates", "model=calculator", f"grid={{{KEY}: [{', '.join(RATES)}]}}"]
    return ["snakemake", "-s", "workflow/sweep.smk", "-j2", *options, "--config", *configured]


def rows(workspace: Workspace) -> list[dict[str, str]]:
    return list(csv.DictReader(workspace.read("sweeps/rates/sweep.csv").decode().splitlines()))


@pytest.mark.parametrize("made", ["by_dvc", "by_snakemake"])
def test_mlflow_has_the_points_below_their_sweep(made: str, request: pytest.FixtureRequest) -> None:
    workspace: Workspace = request.getfixturevalue(made)
    client = MlflowClient(tracking_uri=f"sqlite:///{workspace.folder}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("quintet").experiment_id])
    (above,) = [run for run in runs if run.info.run_name == "rates"]
    below = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == above.info.run_id]  # others are of the run before
    below.sort(key=lambda run: run.info.run_name)
    assert [run.info.run_name for run in below] == [f"rates-{number} calculator" for number in range(1, len(RATES) + 1)]
    assert [run.data.params["training.learning_rate"] for run in below] == list(RATES)
    for run, row in zip(below, rows(workspace), strict=True):
        assert run.data.metrics["quantized/loss"] == pytest.approx(float(row["loss"]), rel=1e-5)
        assert run.data.metrics["quantized/bytes"] == int(row["bytes"]) and len(client.get_metric_history(run.info.run_id, "train/loss")) > 1
    assert {Path(item.path).name for item in client.list_artifacts(above.info.run_id, "sweep")} == OUTPUTS


def test_both_runners_find_the_same(by_dvc: Workspace, by_snakemake: Workspace) -> None:
    assert [row["training.learning_rate"] for row in rows(by_dvc)] == list(RATES) and len({row["loss"] for row in rows(by_dvc)}) == len(RATES)
    for output in OUTPUTS:
        assert by_dvc.read(f"sweeps/rates/{output}") == by_snakemake.read(f"sweeps/rates/{output}")


def test_the_project_itself_is_as_it_was(by_dvc: Workspace, by_snakemake: Workspace, dvc_run: Workspace) -> None:
    for workspace in (by_dvc, by_snakemake):
        assert workspace.run("git", "status", "--porcelain") == ""
        assert workspace.read("models/calculator/model.safetensors") == dvc_run.read("models/calculator/model.safetensors")


def test_what_is_made_is_not_made_again(by_snakemake: Workspace) -> None:
    assert "Nothing to be done" in by_snakemake.run(*command("-n"))


def test_a_wrong_grid_stops_before_any_work(by_snakemake: Workspace) -> None:
    said = by_snakemake.run("snakemake", "-s", "workflow/sweep.smk", "-n", "--config", "sweep=rates", "model=calculator", code=1)
    assert "say --config sweep=NAME model=MODEL" in said
