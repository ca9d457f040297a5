"""Files that are whole or not there."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import io
from pipeline.errors import UserError
from tests.workspace import PROJECT

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_canonical_json_reads_back_and_is_one_text_for_one_value(value):
    text = io.canonical_json(value)
    assert json.loads(text) == value
    assert io.canonical_json(json.loads(text)) == text


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_canonical_json_does_not_know_the_order_of_keys(value):
    assert io.canonical_json(value) == io.canonical_json(dict(reversed(value.items())))


@pytest.mark.parametrize("value", [math.nan, math.inf, {"loss": -math.inf}])
def test_canonical_json_refuses_what_is_no_number(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        io.canonical_json(value)


def test_csv_gives_back_exact_floats(tmp_path):
    rows = [{"step": 1, "loss": 0.1 + 0.2}, {"step": 2, "loss": 1e-300}]
    io.write_csv(tmp_path / "x.csv", rows)
    header, *lines = (tmp_path / "x.csv").read_text().splitlines()
    assert header == "step,loss" and [float(line.split(",")[1]) for line in lines] == [row["loss"] for row in rows]


@pytest.mark.parametrize(
    "text, sentence", [(None, "is missing: run the stage"), ("{", "is not valid JSON"), ("\udcff", "is not valid JSON")]
)
def test_json_that_cannot_be_read_is_named(tmp_path, text, sentence):
    path = tmp_path / "x.json"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=sentence) as caught:
        io.read_json(path)
    assert str(path) in str(caught.value)


class Crash(OSError):
    """The disk is full, or the power is gone."""


def crash_at(monkeypatch: pytest.MonkeyPatch, moment: int) -> list[str]:
    """Make the `moment`-th fsync or rename fail; gives the calls that were made."""
    calls: list[str] = []

    def wrap(name, call):
        def wrapped(*args, **kwargs):
            calls.append(name)
            if len(calls) == moment:
                raise Crash(name)
            return call(*args, **kwargs)

        return wrapped

    monkeypatch.setattr(os, "fsync", wrap("fsync", os.fsync))
    for name in ("replace", "rename"):
        monkeypatch.setattr(Path, name, wrap(name, getattr(Path, name)))
    return calls


def test_a_crash_at_any_moment_of_a_write_leaves_old_or_new(tmp_path, monkeypatch):
    path, seen = tmp_path / "x", set()
    for moment in range(1, 10):
        path.write_bytes(b"old")
        with monkeypatch.context() as patch:
            calls = crash_at(patch, moment)
            try:
                io.write_bytes(path, b"new")
            except Crash:
                seen.add(path.read_bytes())
        assert [file.name for file in tmp_path.iterdir()] == ["x"]
        if len(calls) < moment:
            break
    assert moment == 4 and seen == {b"old", b"new"} and path.read_bytes() == b"new"


def staging(folder: Path, *outputs: str) -> io.Staging:
    return io.Staging(folder / "staging", [Path(output) for output in outputs])


def test_nothing_is_published_before_everything_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = staging(tmp_path, "a/x", "b/y")
    out(Path("a/x")).write_text("1")
    with pytest.raises(RuntimeError, match="without making b/y"):
        out.publish()
    assert not Path("a/x").exists()


def test_an_output_that_is_not_declared_is_refused(tmp_path):
    with pytest.raises(ValueError, match="c/z is not a declared output"):
        staging(tmp_path, "a/x", "b")(Path("c/z"))
    assert staging(tmp_path, "a/x", "b")(Path("b/below/z")).parent.is_dir()


def test_publication_replaces_files_and_whole_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("b").mkdir()
    Path("b/old").write_text("old")
    out = staging(tmp_path, "a/x", "b")
    out(Path("a/x")).write_text("1")
    out(Path("b/new")).write_text("2")
    out.publish()
    assert Path("a/x").read_text() == "1" and [file.name for file in Path("b").iterdir()] == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_crash_at_any_moment_of_publication_leaves_each_output_old_or_new(tmp_path, monkeypatch):
    for moment in range(1, 30):
        folder = tmp_path / str(moment)
        folder.mkdir()
        monkeypatch.chdir(folder)
        for name in ("x", "y"):
            Path(name).write_text("old")
        out = staging(folder, "x", "y")
        for name in ("x", "y"):
            out(Path(name)).write_text("new")
        with monkeypatch.context() as patch:
            calls = crash_at(patch, moment)
            try:
                out.publish()
            except Crash:
                assert {Path(name).read_text() for name in ("x", "y")} <= {"old", "new"}
        if len(calls) < moment:
            break
    assert [Path(name).read_text() for name in ("x", "y")] == ["new", "new"] and moment > 5


def test_a_folders_hash_is_that_of_its_content(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep/file").write_text("x")
    (tmp_path / "two/.snakemake_timestamp").touch()
    (tmp_path / "two/__pycache__").mkdir()
    (tmp_path / "two/__pycache__/m.pyc").touch()
    assert io.sha256(tmp_path / "one") == io.sha256(tmp_path / "two")
    (tmp_path / "two/deep/file").rename(tmp_path / "two/deep/other")
    assert io.sha256(tmp_path / "one") != io.sha256(tmp_path / "two")


def test_fingerprints_notice_an_edit_and_a_loss(tmp_path):
    kept, edited, lost = (tmp_path / name for name in "abc")
    for path in (kept, edited, lost):
        path.write_text("x")
    before = io.Fingerprints([kept, edited, lost])
    edited.write_text("y")
    lost.unlink()
    assert before.changed() == [edited, lost]
    with pytest.raises(UserError, match="c is missing: run the stage that makes it"):
        io.Fingerprints([kept, lost])


def test_a_second_process_is_told_who_holds_the_lock(tmp_path):
    lock = tmp_path / "x.lock"
    code = f"from pathlib import Path; from pipeline import io\nwith io.exclusive(Path({str(lock)!r}), 'train x', 0.2): pass"
    command = [sys.executable, "-c", code]
    with io.exclusive(lock, "train x"):
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode != 0 and f"train x is already running in another process, which holds {lock}" in done.stderr
    assert subprocess.run(command, cwd=PROJECT).returncode == 0
