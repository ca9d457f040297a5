"""The whole graph by a real Slurm on this machine: trainings whose jobs are lost mid-way go on, and every byte is a local run's."""

import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.cluster.localhost import asked, slurm
from tests.workspace import Workspace, clone

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("smoke")]
QUICK = ("--slurm-init-seconds-before-status-checks", "3")
SNAKEMAKE = ("snakemake", "--workflow-profile", "profiles/slurm", "--default-resources", "slurm_partition=main", *QUICK)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with slurm(tmp_path_factory.mktemp("slurm")):
        yield


def at_checkpoint(workspace: Workspace, runner: "subprocess.Popen[bytes]", model: str) -> psutil.Process:
    """The model's training, suspended at a checkpoint; before it, it runs for moments only, between two looks."""
    while not (found := workspace.stages("train", model)):
        assert runner.poll() is None, workspace.said()
        time.sleep(0.2)
    while True:
        found[0].suspend()
        locks = [Path(file.path) for file in found[0].open_files() if "/.quintet/state/" in file.path]
        if any(True for lock in locks for _ in lock.with_suffix("").glob("*.safetensors")):
            return found[0]
        found[0].resume()
        time.sleep(0.01)


def requeue(model: str) -> None:
    """What Slurm does with a job whose node fails, or that must give way."""
    jobs = dict(line.split()[::-1] for line in asked("squeue", "--noheader", "--format=%i %k").splitlines())
    assert asked("scontrol", "requeue", jobs[f"rule_train_wildcards_{model}"]) == ""


def test_lost_jobs_go_on_and_leave_the_bytes_of_a_local_run(cluster: None, snakemake_run: Workspace, tmp_path: Path) -> None:
    """`neurogen`'s process is killed, so that its job fails and Snakemake tries again; `realnet`'s job is started again by Slurm."""
    workspace = clone(tmp_path / "quintet")
    runner = workspace.start(*SNAKEMAKE)
    try:
        with ThreadPoolExecutor() as pool:
            killed, requeued = pool.map(lambda model: at_checkpoint(workspace, runner, model), ("neurogen", "realnet"))
            killed.kill()
            requeue("realnet")
            requeued.resume()
        assert runner.wait(timeout=1800) == 0, workspace.said()
    finally:
        runner.kill()
    for model in ("neurogen", "realnet"):
        assert f"train {model}: going on from step" in workspace.read(f"logs/train/{model}.log").decode()
    said = workspace.said()
    assert "Trying to restart job" in said and "mem_mb=8000" in said, "the second try has more memory"
    workspace.run("dvc", "commit", "--force", "--quiet")
    assert workspace.read("dvc.lock").decode().splitlines() == snakemake_run.read("dvc.lock").decode().splitlines()


def test_without_a_slurm_that_answers_nothing_is_begun(tmp_path: Path) -> None:
    workspace = clone(tmp_path / "quintet")
    (tmp_path / "sinfo").write_text("#!/bin/sh\necho 'sinfo: fatal: no cluster' >&2\nexit 1\n")
    (tmp_path / "sinfo").chmod(0o755)
    path = f"{tmp_path}:{workspace.environment['PATH']}"
    said = workspace.run(*SNAKEMAKE, "data/ready/arithmetic/dataset.json", code=1, PATH=path)
    assert "Slurm does not answer (sinfo: fatal: no cluster): start Snakemake on a machine that submits to a cluster" in said
    assert not (workspace.folder / "data").exists()


def test_a_model_on_cuda_asks_for_one_device(tmp_path: Path) -> None:
    workspace = clone(tmp_path / "quintet")
    workspace.set(models__pentary__training__device="cuda")
    planned = workspace.run("snakemake", "--dry-run", "metrics/pentary/quantize.json")
    asked_for = {rule: devices for rule, devices in re.findall(r"^(?:local)?rule (\w+):$.*?gpu=(\d)", planned, re.MULTILINE | re.DOTALL)}
    assert asked_for == {"download": "0", "tokenize": "0", "train": "1", "quantize": "0"}
