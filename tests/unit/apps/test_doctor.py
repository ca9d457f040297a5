"""The doctor: what it finds on a sound machine, and the sentence for each thing that is wrong."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from filelock import FileLock

from pipeline.apps import doctor
from pipeline.ops import native
from tests.workspace import PROJECT, environment


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with valid parameters, in which the test runs."""
    (tmp_path / "params.yaml").write_bytes((PROJECT / "presets/smoke.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QUINTET_HOME", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def command(project: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    env = environment(PYTHONPATH=str(PROJECT), **extra)
    return subprocess.run([sys.executable, "-m", "pipeline", "doctor", *arguments], cwd=project, env=env, capture_output=True, text=True)


def test_a_sound_machine_has_no_problems(project: Path) -> None:
    found = doctor.examine()
    assert found.problems == []
    assert found.sections["built"]["backends"] == list(native.module().backends)
    assert found.sections["used"]["cpu level"] == native.module().level()
    assert found.sections["repository"]["params.yaml"] == "valid"
    assert set(found.change) == set(found.sections["used"])


def test_json_for_programs_and_the_level_that_the_environment_chooses(project: Path) -> None:
    done = command(project, "--json", QUINTET_CPU="scalar", OMP_NUM_THREADS="2")
    said = json.loads(done.stdout)
    assert done.returncode == 0 and said["problems"] == []
    assert said["used"]["cpu level"] == "scalar" and said["used"]["threads elsewhere"] == 2
    assert said["machine"]["cpu levels"] == native.module().levels()


def test_what_is_wrong_is_said_with_exit_code_2(project: Path) -> None:
    parameters = yaml.safe_load((project / "params.yaml").read_text())
    parameters["seed"] = "one"
    (project / "params.yaml").write_text(yaml.safe_dump(parameters))
    done = command(project, QUINTET_CPU="avx9000")
    assert done.returncode == 2
    assert "error: QUINTET_CPU is 'avx9000', but this machine's levels are " in done.stdout
    assert "error: params.yaml: seed = 'one': " in done.stdout
    assert "can run here" not in done.stdout


def test_packages_that_are_missing_or_old_are_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version
    told = {"mlflow": "1.0"}

    def version(name: str) -> str:
        if name == "dvc":
            raise importlib.metadata.PackageNotFoundError(name)
        return told.get(name) or real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = doctor.examine()
    assert any("the package dvc is not installed: run `make install`" in sentence for sentence in found.problems)
    assert any(sentence.startswith("mlflow is 1.0, but mlflow>=") for sentence in found.problems)
    assert len(found.problems) == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_here_is_a_problem(project: Path) -> None:
    parameters = yaml.safe_load((project / "params.yaml").read_text())
    name = next(iter(parameters["models"]))
    parameters["models"][name]["training"]["device"] = "cuda"
    (project / "params.yaml").write_text(yaml.safe_dump(parameters))
    assert (
        f"models.{name}.training.device is cuda, but torch finds no CUDA device on this machine: set it to cpu" in doctor.examine().problems
    )


def test_locks_and_leftovers_come_with_their_remedy(project: Path) -> None:
    (project / "models/of_yesterday").mkdir(parents=True)
    (project / ".dvc/tmp").mkdir(parents=True)
    (project / ".dvc/tmp/rwlock").touch()
    lock = project / ".quintet/locks/0123.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        found = doctor.examine()
    advice = "\n".join(found.advice)
    assert "another process, which holds .quintet/locks/0123.lock: wait for it, or stop it" in advice
    assert "a killed DVC left .dvc/tmp/rwlock empty" in advice
    assert "models/of_yesterday is of other parameters" in advice
    assert found.problems == [] and found.sections["repository"]["running stages"] == 1
    assert doctor.examine().sections["repository"]["running stages"] == 0
