"""Files, folders, archives and packages as sources of documents."""

import io
import json
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from pipeline import io as files_io
from pipeline.data import documents
from pipeline.data.documents import Document
from pipeline.data.sources import archive, fetch, files, package
from pipeline.errors import UserError
from pipeline.schema.data import TextSource


def source(**values: object) -> object:
    return TypeAdapter(TextSource).validate_python(values)


def local(path: Path, **values: object) -> list[Document]:
    return list(fetch(source(kind="local", path=str(path), **values), path.parent / "downloads").documents)


# Documents


def test_documents_read_back_as_written(tmp_path: Path) -> None:
    written = [Document("a", 'line\nother\u2028 "quoted" \U0001f600\r\n'), Document("b", "")]
    assert documents.write(tmp_path / "d", written) == (2, len(written[0].text))
    assert list(documents.read(tmp_path / "d")) == written
    assert (tmp_path / "d").read_text(encoding="utf-8").count("\n") == 2


@pytest.mark.parametrize("ids", ["ba", "aa"])
def test_ids_must_increase(tmp_path: Path, ids: str) -> None:
    with pytest.raises(UserError, match=f"'a' comes after '{ids[0]}'"):
        documents.write(tmp_path / "d", [Document(id, "x") for id in ids])


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"id": 1}', "nonsense"])
def test_damaged_documents_are_named_by_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "d").write_text(f'{{"id": "a", "text": "x"}}\n{line}\n')
    with pytest.raises(UserError, match=r"d:2 is not a document"):
        list(documents.read(tmp_path / "d"))


# Local files and folders


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("**/*.txt", "a.txt", True),
        ("**/*.txt", "b/c/a.txt", True),
        ("*.txt", "b/a.txt", False),
        ("plays/*/*.md", "plays/x/y.md", True),
        ("plays/*/*.md", "plays/x/z/y.md", False),
        ("?.txt", "ab.txt", False),
        ("a+b[1].txt", "a+b[1].txt", True),
        ("**", "x/y", True),
    ],
)
def test_patterns(pattern: str, name: str, fits: bool) -> None:
    assert files.matcher(pattern)(name) is fits


def test_a_folder_gives_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    folder = tmp_path / "texts"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/z.txt").write_text("\ufeffZ")
    (folder / "b.md").write_text("B")
    (folder / ".hidden.txt").write_text("no")
    (folder / "a.jsonl").write_text(json.dumps({"body": "one"}) + "\n\n" + json.dumps({"body": "two", "x": 1}) + "\n")
    parquet.write_table(pyarrow.table({"body": ["three", "four"], "n": [1, 2]}), folder / "c.parquet")
    got = local(folder, text_field="body")
    assert [d.text for d in got] == ["one", "two", "B", "three", "four", "Z"]
    assert [d.id for d in got] == [
        "a.jsonl#000000000",
        "a.jsonl#000000002",
        "b.md",
        "c.parquet#000000000",
        "c.parquet#000000001",
        "sub/z.txt",
    ]
    assert [d.text for d in local(folder, include="*.md")] == ["B"]
    with pytest.raises(UserError, match=r"nothing in .* fits include = '\*\.rst'"):
        local(folder, include="*.rst")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("latin.txt", "na\u00efve".encode("latin-1"), r"latin\.txt is not UTF-8: byte 0xef at offset 2: convert it, for example by `iconv"),
        ("image.txt", b"\x89PNG\r\n\x1a\n\x00\x00", r"image\.txt is not text: byte 0x00 at offset 8"),
        ("empty.txt", b"", r"empty\.txt is empty"),
        ("cut.txt", "a\u00e9".encode()[:-1], r"cut\.txt is not UTF-8: byte 0xc3 at offset 1"),
        ("rows.jsonl", b'{"text": "a"}\n{"text": ', r"rows\.jsonl:2 is not JSON"),
        ("rows.jsonl", b'{"text": "a"}\n{"text": 3}', r"'text' of rows\.jsonl:2 is int, not text"),
        ("rows.jsonl", b'{"body": "a"}', r"rows\.jsonl:1 has no field 'text', only \['body'\]: name the field"),
        ("rows.jsonl", b"[1]", r"rows\.jsonl:1 has no field 'text'"),
        ("rows.jsonl", b'{"text": "\xef"}', r"rows\.jsonl:1 is not UTF-8: byte 0xef at offset 10"),
        ("table.parquet", b"PAR1 nonsense", r"table\.parquet is not a parquet file"),
    ],
)
def test_what_is_not_text_is_named_with_file_and_offset(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message):
        local(tmp_path / name)


def test_parquet_without_the_field(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"t\.parquet has no field 'text', only \['a'\]"):
        local(tmp_path / "t.parquet")


def test_a_local_source_can_be_pinned(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    pin = files_io.sha256(tmp_path / "a.txt")
    fetched = fetch(source(kind="local", path=str(tmp_path / "a.txt"), sha256=pin), tmp_path)
    assert fetched.provenance == {"kind": "local", "path": str(tmp_path / "a.txt"), "sha256": pin}
    (tmp_path / "a.txt").write_text("two")
    with pytest.raises(UserError, match=f"but {pin} is pinned"):
        local(tmp_path / "a.txt", sha256=pin)
    with pytest.raises(UserError, match="does not exist"):
        local(tmp_path / "none")


# Archives


def make(path: Path, members: dict[str, bytes]) -> Path:
    if path.suffix in (".zip", ".whl"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive_file:
            for name, data in members.items():
                archive_file.writestr(name, data)
    else:
        with tarfile.open(path, f"w:{path.suffix[1:].replace('tar', '')}") as archive_file:
            for name, data in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive_file.addfile(entry, io.BytesIO(data))
    return path


def read(path: Path, include: str = "**/*.txt") -> list[Document]:
    return list(archive.documents(path, include, "text", path.name))


@pytest.mark.parametrize("name", ["a.zip", "a.whl", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_archives_give_the_members_that_fit(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / name, {"b/y.txt": b"Y", "x.txt": b"X", "skip.py": b"\0", "r.jsonl": b'{"text": "R"}'})
    assert archive.is_archive(path)
    assert read(path) == [Document("b/y.txt", "Y"), Document("x.txt", "X")]
    assert read(path, "*.jsonl") == [Document("r.jsonl#000000000", "R")]
    assert [d.text for d in local(path, include="**/*.txt")] == ["Y", "X"]
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
    path = make(tmp_path / name, {"bomb.txt": bytes(60_000_000)})
    assert path.stat().st_size < 100_000
    with pytest.raises(UserError, match="too much for its size: do not trust this archive"):
        read(path)


def test_a_bomb_that_is_not_wanted_is_not_unfolded_either(tmp_path: Path) -> None:
    path = make(tmp_path / "a.tar.gz", {"bomb.bin": bytes(60_000_000), "x.txt": b"X"})
    with pytest.raises(UserError, match="too much for its size"):
        read(path)
    assert read(make(tmp_path / "a.zip", {"bomb.bin": bytes(60_000_000), "x.txt": b"X"})) == [Document("x.txt", "X")]


def test_a_size_that_a_header_denies_counts_too(tmp_path: Path) -> None:
    """The limit is on bytes that come out, whatever a zip's directory says of their number."""
    path = make(tmp_path / "a.zip", {"bomb.txt": bytes(60_000_000)})
    data = path.read_bytes().replace((60_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
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
    import random

    path = make(tmp_path / name, {"x.txt": random.Random(1).randbytes(5000).hex().encode(), "y.txt": b"Y" * 2000})
    data = bytearray(path.read_bytes())
    place = int(len(data) * where)
    data[place : place + 20] = bytes(20)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\..* is a damaged archive"):
        read(path)


# Packages: pip is asked for a file of this folder, so that no registry is needed

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


def tiny(sha256: str, **values: object) -> object:
    return source(kind="package", name="tiny", version="1.0", sha256=sha256, include="tiny/*.txt", **values)


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
    block = source(kind="package", name="tiny", version="1.0", sha256=files_io.sha256(sdist), include="**/*.txt")
    assert [d.text for d in fetch(block, tmp_path / "downloads").documents] == ["A"]
    assert forms == ["--only-binary", "--no-binary"]


# The hub, played by a folder: `datasets` reads it by the same way


@pytest.mark.parametrize("streaming", [True, False])
def test_a_data_set_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps({"body": f"text {i}", "n": i}) + "\n" for i in range(5)))
    values = {"kind": "hub", "name": str(folder), "streaming": streaming, "text_field": "body"}
    fetched = fetch(source(**values, max_documents=3), tmp_path)
    assert list(fetched.documents) == [Document(f"{i:012d}", f"text {i}") for i in range(3)]
    assert (fetched.expected, fetched.provenance["name"]) == (3, str(folder))
    assert len(list(fetch(source(**values), tmp_path).documents)) == 5
    with pytest.raises(UserError, match=r"row 0 of .* has no field 'text', only \['body', 'n'\]"):
        list(fetch(source(kind="hub", name=str(folder), streaming=streaming), tmp_path).documents)
    with pytest.raises(UserError, match="cannot be had"):
        fetch(source(**values, split="nonsense"), tmp_path)


def test_a_data_set_that_the_hub_does_not_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    began = time.monotonic()
    with pytest.raises(UserError, match=r"data set 'nobody/nothing' cannot be had .*: check name, config, split, revision and connection"):
        fetch(source(kind="hub", name="nobody/nothing"), tmp_path)
    assert time.monotonic() - began < 30
