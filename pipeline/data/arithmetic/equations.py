"""Equations such as `12+34=46`: reading them, their value, and the labels that evaluation reports by."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.errors import UserError

OPERATORS = ("+", "-", "*", "//")
_NUMBER = re.compile(r"-?[0-9]+")
_OPERATOR = re.compile(r"//|[-+*]")


class Equation(NamedTuple):
    """What was read of an equation, from its beginning: maybe all, maybe only `12+`."""

    operands: tuple[int, ...]
    operators: tuple[str, ...]
    equals: bool = False
    answer: int | None = None
    places: tuple[int, ...] = ()
    """Where in the text each operand and operator begins, in turn, and then the answer."""

    @property
    def problem(self) -> str:
        """The part up to the equals sign, as people write it; exact inverse of `parse` for a whole problem."""
        rest = "".join(f"{operator}{operand}" for operator, operand in zip(self.operators, self.operands[1:], strict=False))
        return f"{self.operands[0]}{rest}"


class Labels(NamedTuple):
    """What kind of problem an equation is: its operators, digits of the longest operand, and the amount carried."""

    operator: str
    digits: int
    carries: int


def parse(text: str) -> Equation:
    """Read an equation or the beginning of one, spaces ignored; `UserError` naming the first character that cannot stand there."""
    pieces: list[str] = []
    places: list[int] = []
    place = _skip(text, 0)
    equals = False
    while place < len(text) or not pieces:
        number = len(pieces) % 2 == 0
        if not number and text[place] == "=":
            equals, place = True, _skip(text, place + 1)
            break
        places.append(place)
        place, piece = _read(_NUMBER, text, place, "a number") if number else _read(_OPERATOR, text, place, "one of + - * // =")
        pieces.append(piece)
    answer = None
    if equals and place < len(text):
        places.append(place)
        place, written = _read(_NUMBER, text, place, "the answer")
        answer = int(written)
    if place < len(text):
        raise _unreadable(text, place, "nothing")
    return Equation(tuple(map(int, pieces[::2])), tuple(pieces[1::2]), equals, answer, tuple(places))


def _read(pattern: re.Pattern[str], text: str, place: int, expected: str) -> tuple[int, str]:
    match = pattern.match(text, place)
    if match is None:
        raise _unreadable(text, place, expected)
    return _skip(text, match.end()), match[0]


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t":
        place += 1
    return place


def _unreadable(text: str, place: int, expected: str) -> UserError:
    """The error for text that is no equation; positions count from 1."""
    found = f"character {text[place]!r} at position {place + 1}" if place < len(text) else f"the end at position {place + 1}"
    return UserError(f"cannot read {text!r} as arithmetic: {found} stands where {expected} belongs")


def value(operands: Sequence[int], operators: Sequence[str]) -> int:
    """The exact answer: * and // (rounding down) before + and -, from left to right; raises `ZeroDivisionError`."""
    return _work(operands, operators)[0]


def labels(text: str) -> Labels:
    """Labels of an equation, a function of its text alone.

    The amount carried when the equation is worked out by hand follows from digit sums s: (s(x) + s(y) - s(x+y)) / 9 for a sum,
    (s(x) s(y) - s(xy)) / 9 for a product (each carry turns ten of one column into one of the next). A difference counts as
    the sum that proves it, a quotient as divisor times quotient plus remainder.
    """
    equation = parse(text)
    present = " ".join(operator for operator in OPERATORS if operator in equation.operators)
    longest = max(len(str(abs(operand))) for operand in equation.operands)
    return Labels(present, longest, _work(equation.operands, equation.operators)[1])


def group(operands: Sequence[int]) -> str:
    """Name of the set of equations that a split keeps together: all with the same operands, in any order, under any operators."""
    return ",".join(map(str, sorted(operands)))


def _work(operands: Sequence[int], operators: Sequence[str]) -> tuple[int, int]:
    """Value and amount carried."""
    terms, signs, carried = [operands[0]], ["+"], 0
    for operator, operand in zip(operators, operands[1:], strict=True):
        if operator in ("*", "//"):
            terms[-1], amount = _times(terms[-1], operand) if operator == "*" else _divide(terms[-1], operand)
            carried += amount
        else:
            terms.append(operand)
            signs.append(operator)
    total = 0
    for sign, term in zip(signs, terms, strict=True):
        total, amount = _plus(total, term if sign == "+" else -term)
        carried += amount
    return total, carried


def _digit_sum(number: int) -> int:
    return sum(map(int, str(abs(number))))


def _plus(x: int, y: int) -> tuple[int, int]:
    # Of the three magnitudes the largest is the sum of the other two.
    small, middle, large = sorted((abs(x), abs(y), abs(x + y)))
    return x + y, (_digit_sum(small) + _digit_sum(middle) - _digit_sum(large)) // 9


def _times(x: int, y: int) -> tuple[int, int]:
    return x * y, (_digit_sum(x) * _digit_sum(y) - _digit_sum(x * y)) // 9


def _divide(x: int, y: int) -> tuple[int, int]:
    quotient, remainder = divmod(x, y)
    product, carried = _times(quotient, y)
    return quotient, carried + _plus(product, remainder)[1]
