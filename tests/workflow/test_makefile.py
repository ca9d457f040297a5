"""The commands of a fresh clone."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.workspace import PROJECT, Workspace, clone, environment


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return clone(tmp_path_factory.mktemp("fresh") / "quintet")


def dry(workspace: Workspace, *arguments: str) -> str:
    return workspace.run("make", "--dry-run", *arguments)


def test_make_alone_lists_the_commands(fresh: Workspace):
    listed = fresh.run("make")
    targets = ("repro", "repro-snakemake", "test", "test-full", "test-cluster", "lint", "sanitize", "bench", "build", "clean")
    assert all(f"make {target} " in listed for target in targets)


def test_an_interpreter_that_is_missing_or_old_is_named(fresh: Workspace, tmp_path: Path):
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for python in ("python-of-nobody", str(old)):
        said = fresh.run("make", "install", f"PYTHON={python}", code=2)
        assert f"error: {python} is missing or older than Python 3.11: say make PYTHON=python3.12" in said
        assert not (fresh.folder / ".venv").exists()


@pytest.mark.parametrize("target, runner", [("repro", "dvc repro"), ("repro-snakemake", "snakemake -j2")])
def test_the_whole_way_is_planned_once_and_a_preset_before_the_runner(fresh: Workspace, target: str, runner: str):
    planned = dry(fresh, target, "PRESET=smoke")
    order = ["-m venv", "pip install -qq --disable-pip-version-check -r requirements.lock", "--no-build-isolation", "preset smoke", runner]
    places = [planned.index(part) for part in [*order, "python -m pipeline results"]]
    assert places == sorted(places)


def test_the_second_time_nothing_is_installed_or_built(fresh: Workspace, tmp_path: Path):
    workspace = fresh.copy(tmp_path / "quintet")
    (workspace.folder / ".venv").mkdir()
    for stamp in (".installed", ".built"):
        (workspace.folder / ".venv" / stamp).touch()
    assert "pip install" not in dry(workspace, "test")
    (workspace.folder / "native/CMakeLists.txt").touch()
    again = dry(workspace, "test")
    assert "--no-build-isolation" in again and "requirements.lock" not in re.sub(r"echo.*", "", again)


def test_a_compiler_without_sanitizers_is_an_error(fresh: Workspace):
    said = fresh.run("make", "sanitize", CXX="compiler-of-nobody", code=2)
    assert "error: compiler-of-nobody cannot link -fsanitize=address: install" in said
    assert not (fresh.folder / ".venv").exists()


@pytest.mark.parametrize("target, selected", [("test", "pytest -n 2\n"), ("test-full", 'pytest -n 2 -m ""\n')])
def test_tests_run_under_sanitizers_too(fresh: Workspace, target: str, selected: str):
    planned = dry(fresh, target, "FIXED=")
    assert "for preset in asan tsan" in planned and planned.endswith(selected)


def test_continuous_integration_is_make_test():
    script = (PROJECT / ".ci/run").read_text()
    assert script.rstrip().endswith("exec make test")
    subprocess.run(["bash", "-n", str(PROJECT / ".ci/run")], check=True, env=environment())
