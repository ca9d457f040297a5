"""Same inputs, same bytes: two folders, time zones, locales, hash seeds, umasks, and both runners."""

from pathlib import Path

import pytest

from tests.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("smoke")]


def test_dvc_and_snakemake_give_the_same_lock_byte_for_byte(dvc_run: Workspace, snakemake_run: Workspace):
    one, two = dvc_run.read("dvc.lock"), snakemake_run.read("dvc.lock")
    assert one.decode().splitlines() == two.decode().splitlines()
    assert one == two and one.count(b"cmd: python -m pipeline") == 27


def test_what_git_keeps_is_the_same_too(dvc_run: Workspace, snakemake_run: Workspace):
    listed = [run.run("git", "ls-files", "metrics", "plots").split() for run in (dvc_run, snakemake_run)]
    assert listed[0] == listed[1] and len(listed[0]) == 35
    assert [name for name in listed[0] if dvc_run.read(name) != snakemake_run.read(name)] == []


def test_no_output_knows_where_or_when_it_was_made(dvc_run: Workspace):
    """No result holds the folder's name, the user's home or the run's year."""
    rooms = ("data", "models", "quantized", "exports", "metrics", "plots", "report")
    files = [file for room in rooms for file in (dvc_run.folder / room).rglob("*") if file.is_file()]
    telltale = [str(dvc_run.folder).encode(), str(Path.home()).encode() + b"/"]
    assert len(files) > 40
    assert [str(file) for file in files for word in telltale if word in file.read_bytes()] == []


def test_nothing_is_left_to_do_after_either_runner(dvc_run: Workspace, snakemake_run: Workspace, tmp_path: Path):
    for run in (dvc_run, snakemake_run):
        assert "Data and pipelines are up to date." in run.run("dvc", "status")
        again = run.copy(tmp_path / run.folder.parent.name)
        assert "Nothing to be done" in again.run("snakemake", "-n"), "either runner goes on where the other stopped"


def test_a_checkout_by_dvc_gives_snakemake_nothing_to_do(snakemake_run: Workspace, tmp_path: Path):
    again = snakemake_run.copy(tmp_path / "again")
    again.run("rm", "-r", "data", "models", "quantized", "exports", "report")
    again.run("dvc", "checkout")
    assert "Nothing to be done" in again.run("snakemake", "-n")
