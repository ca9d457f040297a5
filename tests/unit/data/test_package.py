"""Packages of a registry. pip is asked for a file of a folder, so that no registry is needed."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import io as files_io
from pipeline.data.documents import Document
from pipeline.data.sources import fetch, package
from pipeline.errors import UserError
from pipeline.schema.data import PackageSource
from tests.unit.data.archives import make

WHEEL_FILES = {
    "tiny/a.txt": b"A",
    "tiny/__init__.py": b"",
    "tiny-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    return folder


def wheel(folder: Path) -> Path:
    metadata = {"tiny-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    return make(folder / "tiny-1.0-py3-none-any.whl", WHEEL_FILES | metadata | {"tiny-1.0.dist-info/RECORD": b""})


def tiny(sha256: str, **values: object) -> PackageSource:
    return PackageSource(kind="package", name="tiny", version="1.0", sha256=sha256, include="tiny/*.txt", **values)


def test_a_package_is_fetched_once_and_then_needs_no_registry(registry: Path, tmp_path: Path) -> None:
    pin = files_io.sha256(wheel(registry))
    fetched = fetch(tiny(pin), tmp_path / "downloads")
    assert list(fetched.documents) == [Document("tiny/a.txt", "A")]
    size = (tmp_path / "downloads" / pin).stat().st_size
    assert fetched.provenance == {"kind": "package", "package": "tiny", "version": "1.0", "sha256": pin, "bytes": size}
    (tmp_path / "downloads" / pin).write_bytes(b"damaged")
    assert list(fetch(tiny(pin), tmp_path / "downloads").documents) == [Document("tiny/a.txt", "A")]
    (registry / "tiny-1.0-py3-none-any.whl").unlink()
    assert list(fetch(tiny(pin), tmp_path / "downloads").documents) == [Document("tiny/a.txt", "A")]


def test_a_package_with_another_hash_is_refused(registry: Path, tmp_path: Path) -> None:
    found = files_io.sha256(wheel(registry))
    with pytest.raises(UserError, match=f"the registry's file has SHA-256 {found}"):
        fetch(tiny("0" * 64), tmp_path / "downloads")
    assert not (tmp_path / "downloads" / ("0" * 64)).exists()


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        (
            "WARNING: retry\nERROR: Could not find\nERROR: No matching distribution found for tiny==1.0\n",
            "No matching distribution found for tiny==1.0",
        ),
        ("/usr/bin/python: No module named pip\n", "No module named pip"),
        ("", "pip said nothing"),
    ],
)
def test_what_pip_says_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stderr: str, reason: str) -> None:
    monkeypatch.setattr(package.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", stderr))
    with pytest.raises(UserError, match=rf"pip could not give tiny==1\.0 .*{reason}\): check name, version, hash and connection"):
        fetch(tiny("0" * 64), tmp_path / "downloads")


def test_the_source_archive_is_taken_where_there_is_no_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """pip's own part, building the metadata of a source archive, needs more packages than this folder has: it is played by a function."""
    sdist = make(tmp_path / "tiny-1.0.tar.gz", {"tiny-1.0/tiny/a.txt": b"A"})
    forms = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        form = next(option for option in command if option in package.FORMS)
        forms.append(form)
        assert command[:4] == [sys.executable, "-m", "pip", "download"] and "--no-deps" in command
        assert files_io.sha256(sdist) in Path(command[command.index("--requirement") + 1]).read_text()
        if form == "--only-binary":
            return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution found")
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir()
        (folder / sdist.name).write_bytes(sdist.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(package.subprocess, "run", pip)
    block = PackageSource(kind="package", name="tiny", version="1.0", sha256=files_io.sha256(sdist), include="**/*.txt")
    assert [d.text for d in fetch(block, tmp_path / "downloads").documents] == ["A"]
    assert forms == ["--only-binary", "--no-binary"]
