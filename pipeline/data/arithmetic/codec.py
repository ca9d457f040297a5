"""The codec: `12+34=46` outside, fixed columns of reversed digits inside.

Every number is written with a fixed count of digits, least significant first, so that a digit's column is its place value and
carries run in reading order (Lee et al. 2023, arXiv:2307.03381). Negative numbers are ten's complement: -22 in three columns is
978, so that a difference is as local, digit by digit, as a sum and needs no sign. All rows have one length: operands and
operators, "=", answer, end of text.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.data.arithmetic.equations import Equation, parse
from pipeline.data.tokenizers import END_OF_TEXT, Tokenizer, characters
from pipeline.errors import UserError

SYMBOLS = {"+": "+", "-": "-", "*": "*", "//": "/"}
WRITTEN = {symbol: operator for operator, symbol in SYMBOLS.items()}
UNREADABLE = "?"
LARGEST = 10**100
MOST_OPERANDS = 64


@dataclass(frozen=True)
class Codec:
    """Which problems there are; the layout of their rows follows."""

    operators: tuple[str, ...]
    operands: int
    minimum: int
    maximum: int
    answer_minimum: int
    answer_maximum: int

    def to_dict(self) -> dict[str, Any]:
        """What a model directory keeps of it."""
        return asdict(self) | {"operators": list(self.operators)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any], origin: str = "the saved codec") -> Self:
        """The codec that `to_dict` described; raises `UserError`, which begins with `origin`, where there can be none such."""
        try:
            codec = cls(**{**saved, "operators": tuple(saved["operators"])})
        except (TypeError, KeyError) as error:
            raise UserError(f"{origin} is not complete ({error}): make the model's directory again") from None
        if wrong := codec._impossible():
            raise UserError(f"{origin}: {wrong} is {getattr(codec, wrong)!r}, which cannot be: make the model's directory again")
        return codec

    def _impossible(self) -> str | None:
        """A field that no data set can have given the codec, if there is one."""
        for name in ("operands", "minimum", "maximum", "answer_minimum", "answer_maximum"):
            if type(value := getattr(self, name)) is not int or abs(value) > LARGEST:
                return name
        if not self.operators or any(operator not in SYMBOLS for operator in map(str, self.operators)):
            return "operators"
        if not 1 <= self.operands <= MOST_OPERANDS:
            return "operands"
        if self.minimum > self.maximum:
            return "minimum"
        return "answer_minimum" if self.answer_minimum > self.answer_maximum else None

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """Symbols in the order of their ids; the last is the end-of-text token."""
        return (*sorted({*"0123456789=", *(SYMBOLS[operator] for operator in self.operators)}), END_OF_TEXT)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: id for id, symbol in enumerate(self.vocabulary)}

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

    @property
    def eos(self) -> int:
        return self.vocab_size - 1

    @cached_property
    def operand_width(self) -> int:
        """Columns of an operand."""
        return _columns(self.minimum, self.maximum)

    @cached_property
    def answer_width(self) -> int:
        """Columns of an answer."""
        return _columns(self.answer_minimum, self.answer_maximum)

    @cached_property
    def prompt_length(self) -> int:
        """Tokens up to and including "=": where the answer starts in every row."""
        return self.operands * (self.operand_width + 1)

    @cached_property
    def row_length(self) -> int:
        """Tokens of a row: prompt, answer, end of text."""
        return self.prompt_length + self.answer_width + 1

    def tokenizer(self) -> Tokenizer:
        """The tokenizer whose ids are the codec's, for what reads a model directory without this class."""
        return characters(self.vocabulary[:-1])

    def encode(self, text: str) -> list[int]:
        """Ids of an equation, or of the beginning of one, such as `12`, `12+34` or `12+34=46`.

        The end-of-text token follows an answer. Raises `UserError` naming character and position of what cannot be read.
        """
        equation = parse(text)
        self._check(text, equation)
        spelled = _reversed(equation.operands[0], self.operand_width)
        for operator, operand in zip(equation.operators, equation.operands[1:], strict=False):
            spelled += SYMBOLS[operator] + _reversed(operand, self.operand_width)
        if len(equation.operators) == len(equation.operands):
            spelled += SYMBOLS[equation.operators[-1]]
        if equation.equals:
            spelled += "="
        if equation.answer is None:
            return [self._ids[symbol] for symbol in spelled]
        return [self._ids[symbol] for symbol in spelled + _reversed(equation.answer, self.answer_width)] + [self.eos]

    def encode_problem(self, text: str) -> list[int]:
        """Ids [prompt_length] of a whole problem such as `12+34=` (the equals sign may be left out); raises `UserError`."""
        equation = parse(text)
        if equation.answer is not None:
            raise UserError(f"{text!r} already has its answer: leave out what follows the equals sign")
        return self.encode(text if equation.equals else f"{text}=")

    def encode_equation(self, text: str) -> list[int]:
        """Ids [row_length] of an equation with its answer such as `12+34=46`; raises `UserError`."""
        ids = self.encode(text)
        if len(ids) != self.row_length:
            raise UserError(f"{text!r} has no answer: write one after the equals sign")
        return ids

    def encode_rows(self, texts: Iterable[str]) -> npt.NDArray[np.uint8]:
        """Rows uint8 [equations, row_length]."""
        rows = [bytes(self.encode_equation(text)) for text in texts]
        return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), self.row_length)

    def decode_answer(self, ids: Sequence[int]) -> str:
        """The number in what a model wrote after "=", up to the end-of-text token.

        Text that is not a number of the answer's width comes back with a question mark before its raw symbols, so that it
        never equals an answer.
        """
        return self._number(self._symbols(ids), self.answer_width, self.answer_maximum)

    def decode(self, ids: Sequence[int]) -> str:
        """A row, or the beginning of one, as people write it: `12+34=46`."""
        symbols = self._symbols(ids)
        step = self.operand_width + 1
        text = ""
        for start in range(0, min(len(symbols), self.prompt_length), step):
            operand, mark = symbols[start : start + step - 1], symbols[start + step - 1 : start + step]
            text += self._number(operand, self.operand_width, self.maximum) + "".join(WRITTEN.get(symbol, symbol) for symbol in mark)
        answer = symbols[self.prompt_length :]
        return text + (self._number(answer, self.answer_width, self.answer_maximum) if answer else "")

    def _symbols(self, ids: Sequence[int]) -> list[str]:
        listed = [int(id) for id in ids]
        end = listed.index(self.eos) if self.eos in listed else len(listed)
        return [self.vocabulary[id] for id in listed[:end]]

    def _number(self, symbols: Sequence[str], width: int, maximum: int) -> str:
        digits = "".join(reversed(symbols))
        if len(symbols) != width or not digits.isdecimal():
            return UNREADABLE + "".join(symbols)
        residue = int(digits)
        return str(residue if residue <= maximum else residue - 10**width)

    def _check(self, text: str, equation: Equation) -> None:
        """Raise `UserError` where the layout has no place for the equation."""
        count = len(equation.operands)
        if count > self.operands or (equation.equals and count < self.operands):
            raise UserError(f"{text!r} has {count} operand(s): this model takes {self.operands}")
        for operator, place in zip(equation.operators, equation.places[1::2], strict=False):
            if operator not in self.operators:
                known = " ".join(self.operators)
                raise UserError(f"{operator!r} at position {place + 1} of {text!r} is not an operator that this model knows: use {known}")
        for operand, place in zip(equation.operands, equation.places[::2], strict=False):
            _check_range(text, operand, place, self.minimum, self.maximum)
        if equation.answer is not None:
            _check_range(text, equation.answer, equation.places[-1], self.answer_minimum, self.answer_maximum)


def _check_range(text: str, number: int, place: int, minimum: int, maximum: int) -> None:
    if not minimum <= number <= maximum:
        raise UserError(f"{number} at position {place + 1} of {text!r} is outside {minimum}..{maximum}, which is what this model knows")


def _columns(minimum: int, maximum: int) -> int:
    """Fewest digits whose residues tell all numbers of a range apart."""
    width = 1
    while 10**width <= max(maximum, maximum - minimum):
        width += 1
    return width


def _reversed(number: int, width: int) -> str:
    return str(number % 10**width).zfill(width)[::-1]
