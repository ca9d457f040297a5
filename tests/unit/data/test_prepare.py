"""Ready data sets, as the stages `download` and `tokenize` make them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.data import documents, duplicates, language, problems, ready, shards, tokenizers
from pipeline.data.arithmetic import Codec, parse
from pipeline.data.documents import Document
from pipeline.errors import UserError
from pipeline.io import sha256
from pipeline.paths import READY_FILES, SPLITS
from pipeline.schema.data import ArithmeticDataset, TextDataset

PROJECT = Path(__file__).parents[3]
SHARED = PROJECT / "../shared/data"
DOCUMENTS = [Document(f"{i:03d}", "".join(chr(97 + (i * j * j + j) % 26) for j in range(200 + 7 * i)) + "\n") for i in range(30)]


def text_block(**values: Any) -> TextDataset:
    base = {"kind": "text", "source": {"kind": "local", "path": "x"}, "tokenizer": {"kind": "characters"}}
    return TextDataset.model_validate(base | values, strict=False)


class Ready:
    """A data set made ready in a folder."""

    def __init__(self, folder: Path, block: TextDataset | ArithmeticDataset, given: list[Document], seed: int = 1) -> None:
        folder.mkdir(exist_ok=True)
        documents.write(folder / "raw", given, ordered=False)
        prepare: Any = language.prepare if block.kind == "text" else problems.prepare
        summary = prepare("d", folder / "raw", block, seed, lambda name: folder / name)
        self.folder = folder
        self.description = ready.finish(summary, {split: folder / f"{split}.safetensors" for split in SPLITS}, {"kind": "test"})
        self.tokens = {split: shards.open(folder / f"{split}.safetensors")["tokens"] for split in SPLITS}
        self.tokenizer = tokenizers.load(folder)

    def text(self, split: str) -> str:
        return self.tokenizer.decode(self.tokens[split])


def test_contiguous_split_cuts_the_whole_text_once(tmp_path: Path) -> None:
    made = Ready(tmp_path, text_block(split={"validation": 0.2, "test": 0.1}), DOCUMENTS)
    whole = "".join(d.text for d in DOCUMENTS)
    texts = {split: made.text(split).replace(tokenizers.END_OF_TEXT, "") for split in SPLITS}
    assert texts["train"] + texts["validation"] + texts["test"] == whole
    for split, share in (("validation", 0.2), ("test", 0.1)):
        assert abs(len(texts[split]) - share * len(whole)) <= 1


def test_documents_go_whole_to_one_split_and_copies_go_together(tmp_path: Path) -> None:
    copies = [Document(f"copy of {d.id}", d.text.upper()) for d in DOCUMENTS[:10]]
    for seed in range(5):
        block = text_block(
            split={"method": "documents", "validation": 0.2, "test": 0.2}, tokenizer={"kind": "characters", "unknown": "unk"}
        )
        documents.write(tmp_path / "raw", [*DOCUMENTS, *copies])
        place = {part.document: part.split for part in language.divider(tmp_path / "raw", block, seed)()}
        assert set(place.values()) == set(SPLITS)
        assert len(place) == 40
        assert all(place[f"copy of {d.id}"] == place[d.id] for d in DOCUMENTS[:10])


def test_a_single_text_has_no_separator_and_several_have_one_between_two(tmp_path: Path) -> None:
    one = Ready(tmp_path / "one", text_block(split={"validation": 0.1, "test": 0.0}), [Document("a", "abc" * 100)])
    assert one.tokenizer.eos not in np.concatenate([one.tokens[split] for split in SPLITS])
    made = Ready(tmp_path / "two", text_block(split={"method": "documents", "validation": 0.1, "test": 0.1}), DOCUMENTS)
    for split in SPLITS:
        described = made.description["splits"][split]
        assert (made.tokens[split] == made.tokenizer.eos).sum() == described["documents"] - 1
        assert described["tokens"] == len(made.tokens[split]) == described["characters"] + described["documents"] - 1


def test_description_says_what_the_shards_hold(tmp_path: Path) -> None:
    given = [Document("a", "naïve 日本 " * 200)]
    made = Ready(tmp_path, text_block(split={"validation": 0.25, "test": 0.25}), given)
    described = made.description
    assert (described["kind"], described["name"], described["vocab_size"]) == ("language", "d", len(set(given[0].text)) + 1)
    for split in SPLITS:
        text = made.text(split)
        assert described["splits"][split] == {
            "tokens": len(made.tokens[split]),
            "documents": 1,
            "characters": len(text),
            "bytes": len(text.encode()),
            "unknown": 0,
            "sha256": sha256(tmp_path / f"{split}.safetensors"),
        }
    assert sum(count["bytes"] for count in described["splits"].values()) == len(given[0].text.encode())


def test_without_a_test_share_validation_stands_in(tmp_path: Path) -> None:
    made = Ready(tmp_path, text_block(split={"validation": 0.1, "test": 0.0}), DOCUMENTS)
    assert made.description["test_is_validation"] is True
    assert (tmp_path / "test.safetensors").read_bytes() == (tmp_path / "validation.safetensors").read_bytes()
    assert made.description["splits"]["test"] == made.description["splits"]["validation"]
    assert Ready(tmp_path / "b", text_block(), DOCUMENTS).description["test_is_validation"] is False


def test_the_alphabet_is_that_of_training_and_others_are_refused_or_unknown(tmp_path: Path) -> None:
    given = [Document("a", "ab" * 450 + "ab" * 49 + "aZ")]
    split = {"validation": 0.05, "test": 0.05}
    with pytest.raises(
        UserError, match=r"document 'a', test split: character 'Z' \(U\+005A\) at position \d+ .* tokenizer\.unknown to unk"
    ):
        Ready(tmp_path, text_block(split=split), given)
    made = Ready(tmp_path, text_block(split=split, tokenizer={"kind": "characters", "unknown": "unk"}), given)
    assert made.tokens["test"][-1] == made.tokenizer.unknown
    assert [made.description["splits"][name]["unknown"] for name in SPLITS] == [0, 0, 1]


def test_byte_pairs_learn_from_the_training_split_only(tmp_path: Path) -> None:
    head, tail = "abab " * 400, "xyxyxy " * 60
    block = text_block(split={"validation": 0.1, "test": 0.1}, tokenizer={"kind": "bpe", "vocab_size": 300})
    made = Ready(tmp_path, block, [Document("a", head + tail)])
    assert made.tokenizer.backend.token_to_id("ab") is not None
    assert made.tokenizer.backend.token_to_id("xy") is None
    assert made.text("test") == (head + tail)[-len(made.text("test")) :]


def test_long_documents_are_encoded_in_pieces_without_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [Document(str(i), "word after word and 12 more, isn't it\n\n" * 300) for i in range(3)]
    block = text_block(tokenizer={"kind": "bpe", "vocab_size": 280})
    whole = Ready(tmp_path / "whole", block, given)
    sizes = [sum(len(part.text) for part in batch) for batch in language.batches([language.Part("train", "a", given[0].text)], 1000)]
    assert len(sizes) > 5 and max(sizes) < 2100
    monkeypatch.setattr(language.batches, "__defaults__", (1000,))
    pieces = Ready(tmp_path / "pieces", block, given)
    assert pieces.description == whole.description


@pytest.mark.parametrize(
    ("given", "values", "message"),
    [
        ([Document("a", " \n ")], {"cleaning": {"play_markdown": True}}, "nothing is left of the text after cleaning"),
        ([], {}, "nothing is left of the text after cleaning"),
        (
            [Document("a", "one"), Document("b", "one")],
            {"split": {"method": "documents"}},
            "the train split is empty: give it a larger share",
        ),
        ([Document("a", "1")], {}, "the train split is empty"),
        ([Document("a", "111")], {"split": {"validation": 0.04, "test": 0.5}}, "the validation split is empty"),
    ],
)
def test_too_little_text(tmp_path: Path, given: list[Document], values: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Ready(tmp_path, text_block(**values), given)


# Arithmetic


@pytest.fixture(scope="module")
def arithmetic(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    from pipeline.data.arithmetic import generate

    block = ArithmeticDataset(kind="arithmetic", maximum=40)
    return Ready(tmp_path_factory.mktemp("arithmetic"), block, [Document(text, text) for text in generate(block, 1)])


def test_no_operands_of_training_are_seen_again_in_any_order_or_under_any_operator(arithmetic: Ready) -> None:
    codec = Codec.from_dict(arithmetic.description["codec"])
    texts = {split: [codec.decode(row) for row in arithmetic.tokens[split]] for split in SPLITS}
    assert sum(map(len, texts.values())) == len({text for some in texts.values() for text in some}) == 2 * 41 * 41
    pairs = {split: {frozenset(parse(text).operands) for text in some} for split, some in texts.items()}
    assert not pairs["train"] & pairs["validation"] and not pairs["train"] & pairs["test"] and not pairs["validation"] & pairs["test"]
    assert all(abs(len(pairs[split]) / 861 - 0.1) < 0.03 for split in ("validation", "test"))
    assert all(f"{parse(text).operands[1]}-{parse(text).operands[0]}" in {t.split("=")[0] for t in texts["test"]} for text in texts["test"])


def test_description_of_arithmetic(arithmetic: Ready) -> None:
    described = arithmetic.description
    codec = Codec.from_dict(described["codec"])
    assert (described["kind"], described["vocab_size"]) == ("arithmetic", codec.vocab_size)
    for split in SPLITS:
        rows = arithmetic.tokens[split]
        assert rows.dtype == np.uint8 and rows.shape[1] == codec.row_length
        assert described["splits"][split]["documents"] == len(rows)
        assert described["splits"][split]["tokens"] == rows.size
        assert described["splits"][split]["bytes"] == sum(len(codec.decode(row)) for row in rows)
    header = json.loads((arithmetic.folder / "train.safetensors").read_bytes()[8 : shards.DATA_START])
    assert header["__metadata__"]["prompt_length"] == str(codec.prompt_length)


def test_transformers_reads_the_rows_of_arithmetic(arithmetic: Ready) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(arithmetic.folder)
    row = arithmetic.tokens["train"][0]
    text = theirs.decode(row[:-1])
    assert theirs(text)["input_ids"] == row[:-1].tolist()
    assert theirs.eos_token_id == row[-1]


# The stages


PARAMETERS = {
    "seed": 3,
    "datasets": {
        "texts": {
            "kind": "text",
            "source": {"kind": "local", "path": "texts"},
            "cleaning": {"lowercase": True, "normalize_whitespace": True},
            "tokenizer": {"kind": "bpe", "vocab_size": 320},
            "split": {"method": "documents", "validation": 0.2, "test": 0.2},
        },
        "sums": {"kind": "arithmetic", "maximum": 999, "sampling": "balanced", "examples": 400},
    },
    "models": {"calculator": yaml.safe_load((PROJECT / "params.yaml").read_text())["models"]["calculator"] | {"dataset": "texts"}},
}
TINY_SHAKESPEARE = {
    "kind": "text",
    "source": {
        "kind": "http",
        "url": "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        "sha256": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    },
    "tokenizer": {"kind": "characters"},
    "split": {"method": "contiguous", "validation": 0.1, "test": 0.0},
}


def project(folder: Path, parameters: dict = PARAMETERS) -> Path:
    (folder / "texts").mkdir(parents=True)
    for document in reversed(DOCUMENTS):
        (folder / f"texts/{document.id}.txt").write_text(document.text)
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters))
    return folder


def run(folder: Path, *arguments: str, code: int = 0, **extra: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "QUINTET_TRACKING": "off", **extra}
    command = [sys.executable, "-m", "pipeline", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    return done.stderr


def test_stages_make_the_same_bytes_anywhere(tmp_path: Path) -> None:
    hashes = []
    for name, extra in (
        ("here", {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C.UTF-8", "RAYON_NUM_THREADS": "1"}),
        (
            "a folder elsewhere",
            {"PYTHONHASHSEED": "99", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONUTF8": "0", "RAYON_NUM_THREADS": "3"},
        ),
    ):
        folder = project(tmp_path / name)
        for dataset in PARAMETERS["datasets"]:
            run(folder, "download", dataset, **extra)
            run(folder, "tokenize", dataset, **extra)
        hashes.append({str(path.relative_to(folder)): sha256(path) for path in sorted((folder / "data").rglob("*")) if path.is_file()})
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 2 * (2 + len(READY_FILES))


def test_a_users_mistake_is_one_sentence_and_publishes_nothing(tmp_path: Path) -> None:
    folder = project(tmp_path / "p")
    (folder / "texts/007.txt").write_bytes(b"caf\xe9")
    message = run(folder, "download", "texts", code=2)
    assert message.splitlines()[-1].startswith("error: 007.txt is not UTF-8: byte 0xe9 at offset 3")
    assert "Traceback" not in message
    assert not (folder / "data").exists()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the mirror is not here")
def test_tiny_shakespeare_is_split_as_nanogpt_splits_it(tmp_path: Path) -> None:
    folder = project(tmp_path / "p", PARAMETERS | {"datasets": {"texts": TINY_SHAKESPEARE}})
    for stage in ("download", "tokenize"):
        run(folder, stage, "texts", QUINTET_MIRROR=str(SHARED.resolve()))
    ready_folder = folder / "data/ready/texts"
    described = json.loads((ready_folder / "dataset.json").read_text())
    text = (SHARED / "tinyshakespeare.txt").read_text()
    assert described["splits"]["train"]["tokens"] == 1_003_854
    assert described["splits"]["validation"]["tokens"] == 111_540
    assert described["vocab_size"] == len(set(text)) + 1
    tokens = shards.open(ready_folder / "validation.safetensors")["tokens"]
    assert tokenizers.load(ready_folder).decode(tokens) == text[1_003_854:]


def test_the_default_texts_have_no_copies_among_them() -> None:
    """The plays come from the registry, so this looks at them only where an earlier run left them."""
    raw = PROJECT / "data/raw/plays/documents.jsonl"
    if not raw.is_file():
        pytest.skip("the plays are not downloaded")
    group = duplicates.groups(documents.read(raw))
    assert len(set(group.values())) == len(group)
