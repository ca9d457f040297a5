"""Choosing parameters, and removing what other parameters left behind."""

import subprocess
from pathlib import Path

import pytest

from pipeline import config as configuration
from pipeline.apps import presets
from pipeline.errors import UserError
from tests.workspace import PROJECT, environment


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A repository with the real presets, `default` in force and committed."""
    (tmp_path / "presets").mkdir()
    for preset in (PROJECT / "presets").glob("*.yaml"):
        (tmp_path / "presets" / preset.name).write_bytes(preset.read_bytes())
    (tmp_path / "params.yaml").write_bytes((PROJECT / "presets/default.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "start"]):
        subprocess.run(["git", *command], env=environment(), check=True)
    return tmp_path


def in_force() -> bytes:
    return Path("params.yaml").read_bytes()


def edit() -> bytes:
    Path("params.yaml").write_text(in_force().decode().replace("seed: 1337", "seed: 1"))
    return in_force()


def test_the_committed_parameters_are_the_default_preset():
    """What git has, so that the test also holds while somebody works with another preset."""
    show = ["git", "show", "HEAD:params.yaml", "HEAD:presets/default.yaml"]
    both = subprocess.run(show, cwd=PROJECT, capture_output=True, check=True).stdout
    assert both[: len(both) // 2] == both[len(both) // 2 :]


def test_a_preset_is_put_in_force_and_says_what_comes_next(project, capsys):
    presets.select("smoke")
    assert in_force() == Path("presets/smoke.yaml").read_bytes()
    said = capsys.readouterr().out
    assert "models shakespeare, calculator, realnet, neurogen, pentary on data sets plays, arithmetic, digits" in said
    assert "make repro" in said
    presets.select("default")
    assert in_force() == Path("presets/default.yaml").read_bytes()


def test_an_edit_that_is_not_committed_is_not_lost(project):
    edited = edit()
    with pytest.raises(UserError, match="has edits that are in no preset and not committed: commit them, or say --force"):
        presets.select("smoke")
    assert in_force() == edited
    presets.select("smoke", force=True)
    assert in_force() != edited


def test_an_edit_that_is_committed_may_be_replaced(project):
    edit()
    subprocess.run(["git", "commit", "-qam", "my own"], env=environment(), check=True)
    presets.select("smoke")
    assert in_force() == Path("presets/smoke.yaml").read_bytes()


def test_without_git_only_presets_may_be_replaced(project):
    subprocess.run(["rm", "-rf", ".git"], check=True)
    presets.select("smoke")
    edit_of_smoke = in_force() + b"\n"
    Path("params.yaml").write_bytes(edit_of_smoke)
    with pytest.raises(UserError, match="not committed"):
        presets.select("default")


def test_a_preset_that_is_wrong_is_not_put_in_force(project):
    Path("presets/mine.yaml").write_text("seed: x\n")
    before = in_force()
    with pytest.raises(UserError, match=r"presets/mine.yaml: seed = 'x'"):
        presets.select("mine")
    assert in_force() == before


def test_results_of_other_models_are_listed_and_removed(project, capsys):
    others = [
        Path("data/raw/old"),
        Path("data/ready/old"),
        *(Path(room) / "old" for room in ("models", "quantized", "exports", "metrics", "plots")),
    ]
    ours = [Path("data/raw/plays"), Path("models/calculator"), Path("metrics/shakespeare")]
    for folder in (*others, *ours):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    assert presets.leftovers(configuration.load()) == sorted(others)
    presets.clean()
    assert all(folder.is_dir() for folder in others)
    assert "--yes" in capsys.readouterr().out
    presets.clean(yes=True)
    assert [folder for folder in (*others, *ours) if folder.exists()] == ours
    presets.clean(yes=True)
    assert "Nothing to remove" in capsys.readouterr().out
