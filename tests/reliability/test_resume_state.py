"""What a resume depends on: the random streams are part of the state, and the state belongs to one configuration."""

import hashlib
import signal
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from tests.reliability.small_training import Project, prepare, stop


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A training that was stopped somewhere before its end."""
    project = prepare(tmp_path_factory.mktemp("stopped"))
    assert stop(project.start(), signal.SIGINT) == 130
    return project


def forget_random_state(checkpoint: Path) -> None:
    """Put a fresh stream in place of the saved one, under a checksum that is right."""
    tensors = load_file(checkpoint)
    with safe_open(checkpoint, framework="pt") as file:
        metadata = file.metadata()
    assert tensors["rng/cpu"].dtype == torch.uint8
    tensors["rng/cpu"] = torch.Generator().manual_seed(0).get_state()
    data = save(tensors, metadata)
    checkpoint.unlink()
    checkpoint.with_name(f"{checkpoint.name[:12]}-{hashlib.sha256(data).hexdigest()[:32]}.safetensors").write_bytes(data)


def test_dropping_the_random_state_is_noticed(stopped: Project, tmp_path: Path) -> None:
    whole, robbed = stopped.copy(tmp_path / "whole"), stopped.copy(tmp_path / "robbed")
    forget_random_state(robbed.checkpoints()[-1])
    for project in (whole, robbed):
        assert "going on from step" in project.run("train", "small")
    one, other = whole.hashes(), robbed.hashes()
    assert one["models/small/config.json"] == other["models/small/config.json"]
    assert one["models/small/model.safetensors"] != other["models/small/model.safetensors"]


def test_other_parameters_do_not_go_on_from_this_state(stopped: Project, tmp_path: Path) -> None:
    project = stopped.copy(tmp_path / "other")
    parameters = project.folder / "params.yaml"
    parameters.write_text(parameters.read_text().replace("steps: 480", "steps: 24"))
    assert "going on" not in project.run("train", "small")
