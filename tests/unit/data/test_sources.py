"""Documents, and files, folders and data sets of the hub as sources of them."""

import json
import time
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from pipeline import io as files_io
from pipeline.data import documents
from pipeline.data.documents import Document
from pipeline.data.sources import fetch, files
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
        ("rows.jsonl", b'{"text": "a\\ud800"}', r"'text' of rows\.jsonl:1 is not Unicode: half a surrogate pair at position 2"),
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
