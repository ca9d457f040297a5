"""Tokenizers: the ids, the files that transformers loads, the characters that are unknown, and the seed's small face."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data import tokenizers
from pipeline.data.tokenizers import END_OF_TEXT, CharacterTokenizer, UnknownCharacter
from pipeline.errors import UserError

TEXT = "ROMEO:\nWhat, ho! 'Tis naïve -- and 日本.\n\n"
GPT2 = Path(__file__).parents[4] / "shared/data/gpt2"
CORPUS = "the cat sat on the mat and the other cat sat there too\n" * 50 + "12 and 345, isn't it? Straße 😀\n\n\n  x"
CHARACTERS = tokenizers.characters(TEXT)
WITH_UNKNOWN = tokenizers.characters(TEXT, unknown=True)
BPE = tokenizers.byte_pairs([CORPUS], 300)


def save(tokenizer: tokenizers.Tokenizer, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    tokenizer.save(folder / "tokenizer.json", folder / "tokenizer_config.json")
    return folder


def test_ids_of_characters_are_their_rank_and_the_end_of_text_is_last() -> None:
    alphabet = sorted(set(TEXT))
    assert CHARACTERS.encode("".join(alphabet)) == list(range(len(alphabet)))
    assert (CHARACTERS.eos, CHARACTERS.vocab_size) == (len(alphabet), len(alphabet) + 1)
    assert (WITH_UNKNOWN.unknown, WITH_UNKNOWN.eos) == (len(alphabet), len(alphabet) + 1)


@given(st.text(alphabet=[*sorted(set(TEXT)), "😀", "x", "\x00"], max_size=40))
def test_the_quick_way_agrees_with_the_library(text: str) -> None:
    assert WITH_UNKNOWN.encode(text) == WITH_UNKNOWN.backend.encode(text).ids
    known = "".join(character for character in text if character in TEXT)
    assert CHARACTERS.encode(known) == CHARACTERS.backend.encode(known).ids
    assert CHARACTERS.decode(CHARACTERS.encode(known)) == known
    assert [ids.tolist() for ids in WITH_UNKNOWN.encode_batch([text, known])] == [WITH_UNKNOWN.encode(text), WITH_UNKNOWN.encode(known)]


def test_five_megabytes_of_characters_take_about_a_second_at_most() -> None:
    text = TEXT * (5_000_000 // len(TEXT))
    begin = time.process_time()
    ids = CHARACTERS.encode_array(text)
    assert time.process_time() - begin < 1.5
    assert len(ids) == len(text)
    assert CHARACTERS.decode(ids[-1000:]) == text[-1000:]


def test_an_unknown_character_is_named_with_its_position_or_becomes_unk() -> None:
    with pytest.raises(UnknownCharacter, match=r"character 'z' \(U\+007A\) at position 7 .* tokenizer\.unknown to unk"):
        CHARACTERS.encode("What, zoo")
    with pytest.raises(Exception, match="UNK"):
        CHARACTERS.backend.encode("What, zoo")  # the library does not drop it silently either
    assert WITH_UNKNOWN.encode("Wz") == [WITH_UNKNOWN.encode("W")[0], WITH_UNKNOWN.unknown]
    assert BPE.decode(BPE.encode("zoo \x00 é")) == "zoo \x00 é"


@given(st.text(max_size=60))
def test_byte_pairs_encode_any_text(text: str) -> None:
    assert BPE.decode(BPE.encode(text)) == text


def test_byte_pairs_learn() -> None:
    assert BPE.vocab_size == 300 and BPE.eos == 299
    assert len(BPE.encode(CORPUS)) < len(CORPUS.encode()) / 2


@pytest.mark.parametrize("tokenizer", [CHARACTERS, WITH_UNKNOWN, BPE], ids=["characters", "unk", "bpe"])
def test_the_name_of_a_special_token_is_ordinary_text(tokenizer: tokenizers.Tokenizer) -> None:
    if tokenizer is CHARACTERS:
        with pytest.raises(UnknownCharacter, match="'<'"):
            tokenizer.encode(END_OF_TEXT)
    else:
        assert tokenizer.eos not in tokenizer.encode(END_OF_TEXT)


@pytest.mark.parametrize("tokenizer", [CHARACTERS, WITH_UNKNOWN, BPE], ids=["characters", "unk", "bpe"])
def test_transformers_loads_the_files_with_the_same_ids(tokenizer: tokenizers.Tokenizer, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = save(tokenizer, tmp_path / "t")
    theirs, ours = AutoTokenizer.from_pretrained(folder), tokenizers.load(folder)
    text = TEXT if tokenizer is not BPE else CORPUS + TEXT
    assert theirs(text)["input_ids"] == ours.encode(text) == tokenizer.encode(text)
    assert theirs.decode(ours.encode(text)) == ours.decode(ours.encode(text)) == text
    assert (theirs.eos_token_id, len(theirs)) == (tokenizer.eos, tokenizer.vocab_size)
    assert theirs.unk_token_id == tokenizer.unknown
    assert theirs.decode([tokenizer.eos]) == END_OF_TEXT


@pytest.mark.skipif(not GPT2.is_dir(), reason="GPT-2's files are not here")
def test_gpt2_from_its_files(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = tokenizers.gpt2(str(GPT2))
    text, ids = "Hello world, To be or not to be", [15496, 995, 11, 1675, 307, 393, 407, 284, 307]
    assert tokenizer.encode(text) == ids
    assert tokenizer.decode(ids) == text
    assert (tokenizer.eos, tokenizer.vocab_size) == (50256, 50257)
    assert AutoTokenizer.from_pretrained(save(tokenizer, tmp_path / "t"))(text)["input_ids"] == ids


@pytest.mark.skipif(not GPT2.is_dir(), reason="GPT-2's files are not here")
def test_gpt2_by_name_takes_the_same_two_files_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(repository: str, name: str) -> str:
        asked.append((repository, name))
        return str(GPT2 / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert tokenizers.gpt2("openai-community/gpt2").encode("Hello world") == [15496, 995]
    assert asked == [("openai-community/gpt2", "vocab.json"), ("openai-community/gpt2", "merges.txt")]


def test_gpt2_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"'nobody/nothing' is no folder, and the hub did not give its vocab\.json"):
        tokenizers.gpt2("nobody/nothing")
    with pytest.raises(UserError, match=r"vocab\.json is missing"):
        tokenizers.gpt2(str(tmp_path))
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_text("<html>")
    with pytest.raises(UserError, match="are not GPT-2's tokenizer"):
        tokenizers.gpt2(str(tmp_path))


@settings(max_examples=50)
@given(st.text(alphabet="ab' 1.\n\u00e9", max_size=200), st.integers(1, 50))
def test_pieces_are_the_text_and_change_no_token(text: str, length: int) -> None:
    parts = list(tokenizers.pieces(text, length))
    assert "".join(parts) == text
    assert [id for part in parts for id in BPE.encode(part)] == BPE.encode(text)


def test_pieces_stay_near_their_length() -> None:
    parts = list(tokenizers.pieces(CORPUS * 100, 1000))
    assert len(parts) > 200
    assert max(map(len, parts)) < 1100


def test_training_of_byte_pairs_is_the_same_with_any_hash_seed_and_any_number_of_threads(tmp_path: Path) -> None:
    chance = random.Random(5)
    words = ["".join(chance.choices("abcdefgh", k=chance.randint(2, 7))) for _ in range(400)]
    (tmp_path / "corpus").write_text(" ".join(chance.choices(words, k=20_000)))
    code = (
        "import sys, pathlib; from pipeline.data import tokenizers; text = pathlib.Path(sys.argv[1]).read_text(); "
        "tokenizer = tokenizers.byte_pairs([text[:50_000], text[50_000:]], 700); sys.stdout.write(tokenizer.backend.to_str())"
    )
    texts = set()
    for seed, threads in (("1", "1"), ("2", "2"), ("3", "7")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads}
        command = [sys.executable, "-c", code, str(tmp_path / "corpus")]
        texts.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(texts) == 1
    assert len(texts.pop()) > 10_000


def test_errors_of_loading_and_decoding(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.json is missing"):
        tokenizers.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="is not a tokenizer"):
        tokenizers.load(tmp_path)
    with pytest.raises(ValueError, match="ids must lie in"):
        CHARACTERS.decode([CHARACTERS.vocab_size])


def test_the_small_face(tmp_path: Path) -> None:
    tokenizer = CharacterTokenizer()
    with pytest.raises(UserError, match="fit"):
        tokenizer.encode("x")
    with pytest.raises(UserError, match="at least one character"):
        tokenizer.fit("")
    tokenizer.fit("hello world")
    ids = tokenizer.encode("hello")
    assert isinstance(ids, list) and all(type(id) is int for id in ids)
    assert tokenizer.decode(ids) == "hello"
    assert tokenizer.vocab_size == len(set("hello world")) + 1
    tokenizer.save_state(tmp_path / "state.json")
    other = CharacterTokenizer()
    other.load_state(str(tmp_path / "state.json"))
    assert other.encode("hello world") == tokenizer.encode("hello world")
    with pytest.raises(UserError, match="character 'z'"):
        other.encode("z")
    (tmp_path / "state.json").write_text("[")
    with pytest.raises(UserError, match="is not valid JSON"):
        other.load_state(tmp_path / "state.json")
    with pytest.raises(UserError, match="is missing"):
        other.load_state(tmp_path / "none.json")


def test_encoding_gives_int64() -> None:
    assert CHARACTERS.encode_array("").dtype == BPE.encode_array("").dtype == np.int64
