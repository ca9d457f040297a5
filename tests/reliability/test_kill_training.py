"""Training killed at random moments, and started again, ends with the bytes of one that was left alone."""

import random
import signal
import time
from pathlib import Path

import pytest

from tests.reliability.small_training import OUTPUTS, Project, prepare, stop

KILLS = 4


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return prepare(tmp_path_factory.mktemp("ready"))


@pytest.fixture(scope="module")
def undisturbed(ready: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    project = ready.copy(tmp_path_factory.mktemp("undisturbed") / "project")
    project.run("train", "small")
    assert not project.checkpoints(), "the state must go once the training is published"
    return project.hashes()


@pytest.fixture
def project(ready: Project, tmp_path: Path) -> Project:
    return ready.copy(tmp_path / "project")


@pytest.mark.slow
def test_killed_again_and_again_at_random_moments(project: Project, undisturbed: dict[str, str]) -> None:
    """SIGKILL, each time between 0 and 0.8 s after the first new checkpoint: in steps, evaluations, samples and writes."""
    moments, reached, died = random.Random(2024), [], 0
    for _ in range(KILLS):
        process = project.start()
        time.sleep(moments.uniform(0.0, 0.8))
        died += stop(process, signal.SIGKILL) == -signal.SIGKILL
        if not project.checkpoints():
            break  # published: started once more, it would train anew
        reached.append(project.checkpoints()[-1].name)
    assert died >= 2, f"the training was over before the signals came: {reached}"
    assert reached == sorted(reached)
    project.run("train", "small")
    assert project.hashes() == undisturbed
    assert not project.checkpoints()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_polite_signal_saves_the_step_and_publishes_nothing(project: Project, undisturbed: dict[str, str], how: signal.Signals) -> None:
    assert stop(project.start(), how) == 130
    assert not any((project.folder / name).exists() for name in OUTPUTS)
    step = int(project.checkpoints()[-1].name[:12])
    assert f"going on from step {step}" in project.run("train", "small")
    assert project.hashes() == undisturbed


def test_a_damaged_checkpoint_is_said_and_changes_nothing(project: Project, undisturbed: dict[str, str]) -> None:
    process = project.start()
    while len(project.checkpoints()) < 2 and process.poll() is None:
        time.sleep(0.01)
    stop(process, signal.SIGKILL)
    newest = project.checkpoints()[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    said = project.run("train", "small")
    assert f"{newest.relative_to(project.folder)} is damaged (its name is not" in said
    assert "): going back to the checkpoint before it" in said
    assert "going on from step" in said
    assert project.hashes() == undisturbed
