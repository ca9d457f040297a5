"""SIGKILL under DVC and Snakemake: nothing half made counts as made, the step ends with its runner, a second try gives the same bytes."""

import os
import random
import signal
import time
from pathlib import Path

import psutil
import pytest

from pipeline import io
from tests.workspace import Workspace, clone

pytestmark = pytest.mark.slow
RESULTS = [f"models/calculator/{name}" for name in ("model.safetensors", "config.json", "tokenizer.json")]
RESULTS += ["metrics/calculator/train.json", "plots/calculator/train.csv"]
COMMANDS = {"dvc": ("dvc", "repro", "train@calculator"), "snakemake": ("snakemake", "models/calculator/model.safetensors")}


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Data are ready, and a training of more than three seconds is to come, on a machine that makes 400 steps in one."""
    workspace = clone(tmp_path_factory.mktemp("ready") / "quintet")
    workspace.set(models__calculator__training__steps=1500, models__calculator__training__checkpoint_every=50)
    workspace.run("dvc", "repro", "tokenize@arithmetic")
    return workspace


@pytest.fixture(scope="module")
def undisturbed(ready: Workspace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    workspace = ready.copy(tmp_path_factory.mktemp("undisturbed") / "quintet")
    workspace.pipeline("train", "calculator")
    return hashes(workspace)


def hashes(workspace: Workspace) -> dict[str, str]:
    return {name: io.sha256(workspace.folder / name) for name in RESULTS}


@pytest.mark.parametrize("victims", ["group", "runner alone"])
@pytest.mark.parametrize("runner", COMMANDS)
def test_killed_and_started_again(ready: Workspace, undisturbed: dict[str, str], tmp_path: Path, runner: str, victims: str):
    workspace = ready.copy(tmp_path / "quintet")
    process = workspace.start(*COMMANDS[runner])
    while not workspace.checkpoints() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(random.Random(f"{runner} {victims}").uniform(0, 0.5))
    assert workspace.stages("train", "calculator"), "the step is to be killed while it runs"
    if victims == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workspace.stages("train", "calculator"), timeout=20)
    assert alive == [], "the step outlives its runner"
    assert [name for name in RESULTS if (workspace.folder / name).exists()] == []
    workspace.run("find", ".dvc/tmp", "-maxdepth", "1", "-name", "rwlock", "-empty", "-delete")  # as `make repro` does
    again = workspace.run(*COMMANDS[runner])
    log = again if runner == "dvc" else workspace.read("logs/train/calculator.log").decode()
    assert "going on from step" in log
    assert hashes(workspace) == undisturbed
