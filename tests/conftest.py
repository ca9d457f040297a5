"""Fixtures of the tests that run the whole pipeline; they share two runs of the preset `smoke`, one under each runner."""

import hypothesis
import pytest

from tests.workspace import Workspace, clone

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")

# Everything that differs between two people's machines and must not reach a result.
HERE = {"TZ": "UTC", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "1"}
THERE = {"TZ": "Asia/Kathmandu", "LANG": "C", "LC_ALL": "C", "PYTHONHASHSEED": "4711", "COLUMNS": "40", "OMP_NUM_THREADS": "2"}


@pytest.fixture(scope="session")
def dvc_run(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Preset `smoke` after `dvc repro`, committed. Tests copy it before they change anything."""
    workspace = clone(tmp_path_factory.mktemp("by-dvc") / "quintet")
    workspace.run("bash", "-c", "umask 022; exec dvc repro", **HERE)
    workspace.commit()
    return workspace


@pytest.fixture(scope="session")
def snakemake_run(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Preset `smoke` after `snakemake -j2` in another folder, time zone, locale, hash seed and umask, recorded with `dvc commit -f`."""
    workspace = clone(tmp_path_factory.mktemp("by-snakemake") / "a folder of another name")
    workspace.run("bash", "-c", "umask 077; exec snakemake -j2", **THERE)
    workspace.run("dvc", "commit", "--force", "--quiet", **THERE)
    workspace.commit()
    return workspace
