"""Archives: what is read of them, and what is refused."""

import io
import random
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline.data.documents import Document
from pipeline.data.sources import archive, fetch
from pipeline.errors import UserError
from pipeline.schema.data import LocalSource
from tests.unit.data.archives import make


def read(path: Path, include: str = "**/*.txt") -> list[Document]:
    return list(archive.documents(path, include, "text", path.name))


@pytest.mark.parametrize("name", ["a.zip", "a.whl", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_archives_give_the_members_that_fit(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / name, {"b/y.txt": b"Y", "x.txt": b"X", "skip.py": b"\0", "r.jsonl": b'{"text": "R"}'})
    assert archive.is_archive(path)
    assert read(path) == [Document("b/y.txt", "Y"), Document("x.txt", "X")]
    assert read(path, "*.jsonl") == [Document("r.jsonl#000000000", "R")]
    source = LocalSource(kind="local", path=str(path), include="**/*.txt")
    assert [d.text for d in fetch(source, tmp_path).documents] == ["Y", "X"]
    with pytest.raises(UserError, match=r"nothing in a\..* fits include"):
        read(path, "*.md")


@pytest.mark.parametrize("suffix", ["zip", "tar"])
@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/etc/evil.txt", "..\\evil.txt", "C:/evil.txt"])
def test_names_that_leave_the_archive_are_refused(tmp_path: Path, suffix: str, name: str) -> None:
    path = make(tmp_path / f"a.{suffix}", {"fine.txt": b"x", name: b"evil"})
    with pytest.raises(UserError, match="would lie outside"):
        read(path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == [path.name]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused_where_they_are_wanted(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as file:
        entry = tarfile.TarInfo("link.txt")
        entry.type, entry.linkname = kind, "/etc/passwd"
        file.addfile(entry)
        plain = tarfile.TarInfo("plain.md")
        plain.size = 1
        file.addfile(plain, io.BytesIO(b"P"))
    with pytest.raises(UserError, match=r"'link\.txt' in a\.tar is a link or a device"):
        read(path)
    assert [d.text for d in read(path, "*.md")] == ["P"]


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("link.txt")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(entry, "/etc/passwd")
    with pytest.raises(UserError, match="is a link or a device"):
        read(tmp_path / "a.zip")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.xz"])
def test_bombs_are_refused_before_they_unfold(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / name, {"bomb.txt": bytes(20_000_000)})
    assert path.stat().st_size < 100_000
    with pytest.raises(UserError, match="too much for its size: do not trust this archive"):
        read(path)


def test_a_bomb_that_is_not_wanted_is_not_unfolded_either(tmp_path: Path) -> None:
    path = make(tmp_path / "a.tar.gz", {"bomb.bin": bytes(20_000_000), "x.txt": b"X"})
    with pytest.raises(UserError, match="too much for its size"):
        read(path)
    assert read(make(tmp_path / "a.zip", {"bomb.bin": bytes(20_000_000), "x.txt": b"X"})) == [Document("x.txt", "X")]


def test_a_size_that_a_header_denies_counts_too(tmp_path: Path) -> None:
    """The limit is on bytes that come out, whatever a zip's directory says of their number."""
    path = make(tmp_path / "a.zip", {"bomb.txt": bytes(20_000_000)})
    data = path.read_bytes().replace((20_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"damaged archive|too much for its size|is not text"):
        read(path)


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    with pytest.raises(UserError, match="more than 3 members"):
        read(make(tmp_path / "a.zip", {f"{i}.txt": b"x" for i in range(4)}))


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.xz"])
@pytest.mark.parametrize("where", [0.4, 0.6])
def test_damaged_archives(tmp_path: Path, name: str, where: float) -> None:
    path = make(tmp_path / name, {"x.txt": random.Random(1).randbytes(5000).hex().encode(), "y.txt": b"Y" * 2000})
    data = bytearray(path.read_bytes())
    place = int(len(data) * where)
    data[place : place + 20] = bytes(20)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\..* is a damaged archive"):
        read(path)
