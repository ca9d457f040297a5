"""Promise: with MLflow switched off, up, or down, a training makes the same bytes and ends well."""

import re
import shutil

import pytest

from tests.workspace import Workspace, clone

OUTPUTS = ("models/calculator", "metrics/calculator", "plots/calculator")
STATES = {"off": {}, "up": {"QUINTET_TRACKING": "on"}, "down": {"QUINTET_TRACKING": "on", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}}


@pytest.mark.slow
def test_a_training_makes_the_same_bytes_whatever_mlflow_does(tmp_path):
    project = clone(tmp_path / "quintet")
    for stage in ("download", "tokenize"):
        project.pipeline(stage, "arithmetic")
    found = {state: train(project, environment) for state, environment in STATES.items()}
    assert found["up"][0] == found["down"][0] == found["off"][0]
    assert "`python -m pipeline sync`" in found["down"][1], "it says how to replay, whether the store refused or was waited for in vain"
    assert (project.folder / "mlflow.db").exists() or "`python -m pipeline sync`" in found["up"][1], "on a busy machine it may be late"
    said = project.pipeline("sync")
    assert re.search(": [23] of them were not there", said), "the logs of two trainings that fed no store, and of one that was too late"


def train(project: Workspace, environment: dict[str, str]) -> tuple[dict[str, bytes], str]:
    """A whole training's outputs, and what it said."""
    for folder in OUTPUTS:
        shutil.rmtree(project.folder / folder, ignore_errors=True)
    said = project.pipeline("train", "calculator", **environment)
    files = [file for folder in OUTPUTS for file in sorted((project.folder / folder).rglob("*"))]
    return {file.relative_to(project.folder).as_posix(): file.read_bytes() for file in files}, said
