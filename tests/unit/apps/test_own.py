"""A text of one's own: two commands to an evaluated model, and the right sentence for what is no text."""

import difflib
from pathlib import Path

import pytest
import yaml

from pipeline import config as configuration
from pipeline.apps import own
from pipeline.data import documents
from pipeline.data.documents import Document
from pipeline.data.sources import files
from pipeline.errors import UserError
from tests.workspace import PROJECT

TEXT = "The cat sat on the mat, and looked at the hat; the rat ran off with that.\n" * 60


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params.yaml").write_bytes((PROJECT / "presets/default.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_text_becomes_a_data_set_and_a_model_and_nothing_else_changes(project: Path) -> None:
    before = configuration.load()
    lines = Path("params.yaml").read_text().splitlines()
    Path("My Novel, 2nd.txt").write_text(TEXT)
    own.add(Path("My Novel, 2nd.txt"), None)
    after = configuration.load()
    assert list(after.models) == ["my-novel-2nd", *before.models] and list(after.datasets) == ["my-novel-2nd", *before.datasets]
    assert all(after.models[name] == model for name, model in before.models.items())
    changes = difflib.ndiff(lines, Path("params.yaml").read_text().splitlines())
    assert [change for change in changes if change.startswith("- ")] == []
    dataset = after.datasets["my-novel-2nd"]
    assert dataset.source.path == "My Novel, 2nd.txt" and dataset.tokenizer.kind == "characters"
    with pytest.raises(UserError, match="has a data set 'my-novel-2nd' already: choose another name by --name"):
        own.add(Path("My Novel, 2nd.txt"), None)


def test_many_different_characters_are_byte_pairs(project: Path) -> None:
    Path("signs.txt").write_text("".join(map(chr, range(0x4E00, 0x4E00 + 2500))))
    own.add(Path("signs.txt"), "signs")
    assert configuration.load().datasets["signs"].tokenizer.kind == "bpe"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it.txt is empty"),
        (b"\x7fELF\x00\x01" * 999, "it.txt is not text: byte 0x00 at offset 4"),
        (
            "Käse ".encode("latin-1") * 999,
            "it.txt is not UTF-8: byte 0xe4 at offset 1: convert it, for example by `iconv -f latin1 -t utf-8`",
        ),
        (b"abc", "it.txt has 3 characters, of which nothing can be learned: give at least 2000"),
        (None, "source.path = 'it.txt' does not exist"),
    ],
)
def test_what_is_no_text_is_one_sentence_and_changes_nothing(project: Path, content: bytes | None, sentence: str) -> None:
    if content is not None:
        Path("it.txt").write_bytes(content)
    before = Path("params.yaml").read_bytes()
    with pytest.raises(UserError) as error:
        own.add(Path("it.txt"), None)
    assert str(error.value).startswith(sentence) and "\n" not in str(error.value)
    assert Path("params.yaml").read_bytes() == before


def test_sections_in_another_form_are_left_to_the_person(project: Path) -> None:
    parameters = yaml.safe_load(Path("params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump(parameters, default_flow_style=True))
    Path("it.txt").write_text(TEXT)
    with pytest.raises(UserError, match="the entries of datasets are not one below the other: write them so, or add it by hand"):
        own.add(Path("it.txt"), None)


def test_a_large_text_is_judged_by_a_small_part(project: Path) -> None:
    found = own.Look(10**9, set("abc"), "0" * 64)
    dataset, _ = own.blocks(Path("it.txt"), "it", found)
    assert dataset["split"]["test"] * found.characters <= own.JUDGED


@pytest.mark.parametrize("part", [7, 64, 1000])
@pytest.mark.parametrize("text", [TEXT, "é日本🎉" * 300, "\ufeffmark\n" * 200, "x" * 2999 + "\n"])
def test_a_large_file_is_read_part_by_part_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int, text: str
) -> None:
    monkeypatch.setattr(files, "PART", part)
    (tmp_path / "it.txt").write_bytes(text.encode())
    parts = list(files.documents(tmp_path / "it.txt", "it.txt", "text"))
    assert "".join(document.text for document in parts) == text.removeprefix("\ufeff")
    assert max(len(document.text.encode()) for document in parts) <= 2 * part
    assert documents.write(tmp_path / "written.jsonl", parts).documents == len(parts) > 1  # ids increase


def test_a_mistake_far_into_a_large_file_has_its_own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PART", 64)
    (tmp_path / "it.txt").write_bytes(TEXT.encode()[:1000] + b"\xff" + TEXT.encode())
    with pytest.raises(UserError, match="byte 0xff at offset 1000"):
        list(files.documents(tmp_path / "it.txt", "it.txt", "text"))


def test_a_file_of_one_part_is_one_document_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "it.txt").write_text(TEXT)
    assert list(files.documents(tmp_path / "it.txt", "it.txt", "text")) == [Document("it.txt", TEXT)]
