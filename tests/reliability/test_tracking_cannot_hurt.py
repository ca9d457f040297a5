"""Promise: with MLflow switched off, up, or down, a training makes the same bytes and ends well."""

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
    assert "`python -m pipeline sync` replays" in found["down"][1]
    assert (project.folder / "mlflow.db").exists()
    assert ": 2 of them were not there" in project.pipeline("sync"), "the logs of the trainings that fed no store"


def train(project: Workspace, environment: dict[str, str]) -> tuple[dict[str, bytes], str]:
    """A whole training's outputs, and what it said."""
    for folder in OUTPUTS:
        shutil.rmtree(project.folder / folder, ignore_errors=True)
    said = project.pipeline("train", "calculator", **environment)
    files = [file for folder in OUTPUTS for file in sorted((project.folder / folder).rglob("*"))]
    return {file.relative_to(project.folder).as_posix(): file.read_bytes() for file in files}, said
