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
    operands: list[int] = []
    operators: list[str] = []
    place = _skip(text, 0)
    while place < len(text) or not operands:
        place, operand = _read(_NUMBER, text, place, "a number")
        operands.append(int(operand))
        if place == len(text):
            break
        if text[place] == "=":
            return _parse_answer(text, _skip(text, place + 1), tuple(operands), tuple(operators))
        place, operator = _read(_OPERATOR, text, place, "one of + - * // =")
        operators.append(operator)
    return Equation(tuple(operands), tuple(operators))


def _parse_answer(text: str, place: int, operands: tuple[int, ...], operators: tuple[str, ...]) -> Equation:
    if place == len(text):
        return Equation(operands, operators, equals=True)
    place, answer = _read(_NUMBER, text, place, "the answer")
    if place < len(text):
        raise unreadable(text, place, "nothing")
    return Equation(operands, operators, True, int(answer))


def _read(pattern: re.Pattern[str], text: str, place: int, expected: str) -> tuple[int, str]:
    match = pattern.match(text, place)
    if match is None:
        raise unreadable(text, place, expected)
    return _skip(text, match.end()), match[0]


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t":
        place += 1
    return place


def unreadable(text: str, place: int, expected: str) -> UserError:
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
