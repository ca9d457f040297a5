"""The doctor's advice on locks: what DVC and Snakemake leave behind when they are killed, and what is held by somebody alive."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.apps import locks
from tests.workspace import environment


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def held(pid: int) -> None:
    locks.RWLOCK.write_text(json.dumps({"write": {"models/x": {"pid": pid, "cmd": "dvc repro"}}, "read": {}}))


def test_nothing_is_said_of_a_folder_without_locks(project: Path) -> None:
    assert locks.advice() == []
    locks.RWLOCK.write_text("{}")
    assert locks.advice() == []


@pytest.mark.parametrize(("content", "state"), [("", "empty"), ('{"write": {"mod', "cut short"), ("[]", "cut short")])
def test_a_lock_that_dvc_cannot_read_is_to_be_removed(project: Path, content: str, state: str) -> None:
    locks.RWLOCK.write_text(content)
    (sentence,) = locks.advice()
    assert f"left .dvc/tmp/rwlock {state}" in sentence and "`rm .dvc/tmp/rwlock`" in sentence


def test_who_stands_in_dvcs_lock(project: Path) -> None:
    held(pid := dead())
    assert locks.advice() == [
        f"a killed DVC (process {pid}, `dvc repro`) still stands in .dvc/tmp/rwlock: the next `dvc repro` takes it out by itself"
    ]
    held(os.getpid())
    assert locks.advice() == [f"`dvc repro` is running here as process {os.getpid()}: wait for it, or stop it"]
    os.utime(locks.RWLOCK, (1, 1))  # the lock is older than the process that has the number now
    (sentence,) = locks.advice()
    assert "a number that another program has now: `rm .dvc/tmp/rwlock`" in sentence


def test_dvc_agrees_on_what_it_cannot_read(project: Path) -> None:
    """The cure is needed, and it is one."""
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q", "--force"]):
        subprocess.run(command, check=True, env=environment())
    locks.RWLOCK.parent.mkdir(exist_ok=True)
    Path("dvc.yaml").write_text("stages:\n  one:\n    cmd: touch one\n    outs: [one]\n")
    locks.RWLOCK.write_text("")
    repro = [sys.executable, "-m", "dvc", "repro"]
    failed = subprocess.run(repro, env=environment(), capture_output=True, text=True)
    assert failed.returncode != 0 and "Unable to read RWLock-file" in failed.stderr
    (sentence,) = locks.advice()
    subprocess.run(sentence.split("`")[1], shell=True, check=True)
    assert subprocess.run(repro, env=environment(), capture_output=True).returncode == 0 and locks.advice() == []


def test_snakemakes_lock_is_stale_where_no_snakemake_runs(project: Path) -> None:
    (locks.SNAKEMAKE / "0.output.lock").write_text("report/index.html\n")
    (sentence,) = locks.advice()
    assert "a killed Snakemake left .snakemake/locks/0.output.lock" in sentence and "`snakemake --unlock`" in sentence
    waiting = subprocess.Popen([sys.executable, "-c", "input()", "snakemake"], stdin=subprocess.PIPE)
    try:
        assert locks.advice() == [f"Snakemake is running here as process {waiting.pid}: wait for it, or stop it"]
    finally:
        waiting.communicate()
