"""The codec: rows of reversed columns inside, what people write outside."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.arithmetic import Codec, codec_for, generate
from pipeline.errors import UserError
from pipeline.schema.data import ArithmeticDataset


def block(**changes: object) -> ArithmeticDataset:
    return ArithmeticDataset(kind="arithmetic", **changes)


DEFAULT = codec_for(block())


def test_layout_of_a_row() -> None:
    assert DEFAULT.vocabulary == (*"+-0123456789=", "<|endoftext|>")
    row = DEFAULT.encode_equation("12-34=-22")
    assert "".join(DEFAULT.vocabulary[id] for id in row[:-1]) == "210-430=879"  # -22 is 978 in three columns
    assert row[-1] == DEFAULT.eos
    assert (DEFAULT.prompt_length, DEFAULT.row_length, DEFAULT.vocab_size) == (8, 12, 14)


CODECS = [
    block(),
    block(negative_results=False, maximum=30),
    block(operators=["+", "-", "*", "//"], minimum=-7, maximum=7),
    block(operators=["*", "-"], maximum=6, operands=3),
    block(operators=["+"], maximum=9),
]


@pytest.mark.parametrize("chosen", CODECS, ids=lambda chosen: f"{'_'.join(chosen.operators)} {chosen.minimum}..{chosen.maximum}")
def test_every_equation_survives_the_codec_and_reads_no_other_way(chosen: ArithmeticDataset) -> None:
    codec = Codec.from_dict(codec_for(chosen).to_dict())
    assert codec == codec_for(chosen)
    equations = list(generate(chosen, 1))
    rows = codec.encode_rows(equations)
    assert rows.dtype == np.uint8 and rows.shape == (len(equations), codec.row_length)
    assert len(np.unique(rows[:, : codec.prompt_length], axis=0)) == len(equations)
    for text, row in zip(equations, rows, strict=True):
        problem, _, answer = text.partition("=")
        assert codec.decode(row) == text
        assert codec.decode_answer(row[codec.prompt_length :]) == answer
        assert codec.encode_problem(f"{problem}=") == codec.encode_problem(problem) == row[: codec.prompt_length].tolist()


def test_beginnings_of_an_equation_are_beginnings_of_its_row() -> None:
    row = DEFAULT.encode("12+34=46")
    for text in ("12", "12+", "12+34", "12+34=", " 12 + 34 = "):
        ids = DEFAULT.encode(text)
        assert ids == row[: len(ids)]
        assert DEFAULT.decode(ids) == text.replace(" ", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the end at position 1 stands where a number belongs"),
        ("abc", "character 'a' at position 1 stands where a number belongs"),
        ("12 34=", "character '3' at position 4 stands where one of + - * // = belongs"),
        ("12+34a=", "character 'a' at position 6"),
        ("12+=", "character '=' at position 4 stands where a number belongs"),
        ("1/2=", "character '/' at position 2"),
        ("1.5+2=", "character '.' at position 2"),
        ("１+2=", "character '１' at position 1"),
        ("12*34=", "'*' at position 3 of '12*34=' is not an operator that this model knows: use + -"),
        ("1+2+3=", "'1+2+3=' has 3 operand(s): this model takes 2"),
        ("12=", "'12=' has 1 operand(s): this model takes 2"),
        ("12", "'12=' has 1 operand(s)"),
        ("11+111=", "111 at position 4 of '11+111=' is outside 0..100"),
        ("5--3=", "-3 at position 3 of '5--3=' is outside 0..100"),
        ("1+2=3", "already has its answer"),
    ],
)
def test_a_problem_that_cannot_be_read_is_refused_by_character_and_position(text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        DEFAULT.encode_problem(text)


@pytest.mark.parametrize(
    ("text", "message"), [("1+2=", "has no answer"), ("1+2=3=", "'=' at position 6"), ("1+2=201", "outside -100..200")]
)
def test_an_equation_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        DEFAULT.encode_equation(text)


@pytest.mark.parametrize("raw", ["64", "6400", "6+4", "", "=64"])
def test_what_is_no_number_never_equals_an_answer(raw: str) -> None:
    ids = [DEFAULT.vocabulary.index(symbol) for symbol in raw]
    assert DEFAULT.decode_answer([*ids, DEFAULT.eos, 5, 5]) == f"?{raw}"


@given(st.lists(st.integers(0, 13), max_size=20))
def test_anything_that_a_model_writes_can_be_shown(ids: list[int]) -> None:
    assert isinstance(DEFAULT.decode(ids), str)
    assert isinstance(DEFAULT.decode_answer(ids), str)


def test_its_tokenizer_has_the_same_ids() -> None:
    codec = codec_for(block(operators=["//", "*", "+"]))
    tokenizer = codec.tokenizer()
    assert (tokenizer.vocab_size, tokenizer.eos) == (codec.vocab_size, codec.eos)
    assert [tokenizer.decode([id]) for id in range(codec.vocab_size)] == list(codec.vocabulary)


@pytest.mark.parametrize("saved", [{}, {"operators": ["+"]}, {**DEFAULT.to_dict(), "more": 1}])
def test_an_incomplete_saved_codec(saved: dict) -> None:
    with pytest.raises(UserError, match="the saved codec is not complete"):
        Codec.from_dict(saved)
