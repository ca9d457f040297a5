"""What changes while a stage runs makes it fail and publish nothing, so that a lock file cannot link a result to what did not make it."""

import time
from pathlib import Path

import pytest

from tests.workspace import Workspace, clone

pytestmark = pytest.mark.slow
RESULTS = ("models/calculator/model.safetensors", "metrics/calculator/train.json", "plots/calculator/train.csv")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Data are ready, and a training of some seconds is to come."""
    workspace = clone(tmp_path_factory.mktemp("ready") / "quintet")
    workspace.set(models__calculator__training__steps=150)
    workspace.run("dvc", "repro", "tokenize@arithmetic")
    return workspace


def edit_input(workspace: Workspace) -> str:
    file = workspace.folder / "data/ready/arithmetic/dataset.json"
    file.write_text(file.read_text() + "\n")
    return "data/ready/arithmetic/dataset.json"


def edit_code(workspace: Workspace) -> str:
    file = workspace.folder / "pipeline/models/transformer/__init__.py"
    file.write_text(file.read_text() + "# edited\n")
    return str(file)


def edit_parameter(workspace: Workspace) -> str:
    workspace.set(models__calculator__training__learning_rate=0.5)
    return "params.yaml"


BARE = ("python", "-m", "pipeline", "train", "calculator")
DVC = ("dvc", "repro", "train@calculator")
SNAKEMAKE = ("snakemake", "models/calculator/model.safetensors")


@pytest.mark.parametrize("command, edit, code", [(BARE, edit_input, 2), (DVC, edit_code, 255), (SNAKEMAKE, edit_parameter, 1)])
def test_an_edit_while_a_stage_runs_makes_it_fail_and_publish_nothing(ready: Workspace, tmp_path: Path, command, edit, code):
    workspace = ready.copy(tmp_path / "quintet")
    process = workspace.start(*command)
    while not workspace.checkpoints() and process.poll() is None:
        time.sleep(0.01)
    edited = edit(workspace)
    assert process.wait(120) == code
    assert f"error: {edited} changed while train was running, so nothing was published: run the stage again" in workspace.said()
    assert [result for result in RESULTS if (workspace.folder / result).exists()] == []
    assert b"train@calculator" not in workspace.read("dvc.lock")
