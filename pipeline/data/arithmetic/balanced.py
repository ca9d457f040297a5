"""Sampling equations in balance: as many short ones as long ones, and as many with few carries as with many.

Uniform draws from 0..10^n are nearly all n digits long with about half of the columns carrying; models trained on them fail at the
rest (Lee et al. 2023, arXiv:2307.03381). Here lengths are drawn uniformly, and each column carries with a probability that is
itself drawn uniformly for each equation, which makes the number of carries uniform. What imbalance is left is taken out by
choosing from more candidates than are needed, in turn over operators and lengths, and for each of those in turn over carries.
"""

import functools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any

from pipeline.data.arithmetic.equations import Equation, labels
from pipeline.data.arithmetic.rules import answer
from pipeline.errors import UserError
from pipeline.progress import Bar

if TYPE_CHECKING:
    from pipeline.schema.data import ArithmeticDataset

CANDIDATES = 2
DRAWS = 50

Digits = tuple[int, ...]


def sample(block: "ArithmeticDataset", seed: int) -> Iterator[str]:
    """`block.examples` equations, none twice; raises `UserError` where there are not so many."""
    chance = random.Random(f"{seed}/arithmetic")
    seen: set[str] = set()
    kinds: dict[tuple[str, int], dict[int, list[str]]] = {}
    with Bar("draw candidates", CANDIDATES * block.examples, "equations") as bar:
        for _ in range(DRAWS * block.examples):
            text = _draw(block, chance)
            if text is None or text in seen:
                continue
            seen.add(text)
            kind = labels(text)
            kinds.setdefault((kind.operator, kind.digits), {}).setdefault(kind.carries, []).append(text)
            bar.advance(1)
            if len(seen) == CANDIDATES * block.examples:
                break
    if len(seen) < block.examples:
        raise UserError(f"examples = {block.examples}, but only {len(seen)} different equations were found: lower it, or widen the range")
    return islice(in_turn([list(in_turn(_values(carries))) for carries in _values(kinds)]), block.examples)


def in_turn(lists: Iterable[Sequence[str]]) -> Iterator[str]:
    """The first of each list, then the second of each, and so on; a list that is used up is passed over."""
    return (item for turn in zip_longest(*lists) for item in turn if item is not None)


def _values(mapping: Mapping[Any, Any]) -> list[Any]:
    return [mapping[key] for key in sorted(mapping)]


def _draw(block: "ArithmeticDataset", chance: random.Random) -> str | None:
    """One candidate, or `None` where the draw left the range."""
    operators = tuple(chance.choice(block.operators) for _ in range(block.operands - 1))
    length = chance.randint(_shortest(block), _longest(block))
    digits = tuple(map(int, block.allowed_digits))
    if operators in (("+",), ("-",)):
        operands = _pair(digits, length, chance)
        if operators == ("-",):
            operands = _subtraction(operands, block.negative_results, chance)
    else:
        lengths = [length, *(chance.randint(1, length) for _ in operators)]
        chance.shuffle(lengths)
        operands = tuple(_number(digits, size, chance) for size in lengths)
    if block.minimum < 0:
        operands = tuple(chance.choice((-1, 1)) * operand for operand in operands)
    result = answer(block, operands, operators)
    return None if result is None else f"{Equation(operands, operators).problem}={result}"


def _shortest(block: "ArithmeticDataset") -> int:
    return len(str(max(block.minimum, 0)))


def _longest(block: "ArithmeticDataset") -> int:
    return len(str(max(abs(block.minimum), abs(block.maximum))))


def _number(digits: Digits, length: int, chance: random.Random) -> int:
    return int("".join(str(chance.choice(_allowed(digits, place, length))) for place in reversed(range(length))))


def _pair(digits: Digits, length: int, chance: random.Random) -> tuple[int, ...]:
    """Two numbers, the longer one of `length` digits, whose columns carry with a probability that is drawn first."""
    lengths = [length, chance.randint(1, length)]
    chance.shuffle(lengths)
    inclination, carry, numbers = chance.random(), 0, [0, 0]
    for place in range(length):
        wanted = int(chance.random() < inclination)
        first, second = (_allowed(digits, place, size) for size in lengths)
        column = chance.choice(_columns(first, second, carry, wanted) or _columns(first, second, carry, 1 - wanted))
        numbers = [number + digit * 10**place for number, digit in zip(numbers, column, strict=True)]
        carry = int(sum(column) + carry >= 10)
    return tuple(numbers)


def _subtraction(summands: tuple[int, ...], negative: bool, chance: random.Random) -> tuple[int, ...]:
    """The difference that a sum proves, which borrows where the sum carries; turned round half of the time if it may be negative."""
    difference = (sum(summands), summands[0])
    return difference[::-1] if negative and chance.random() < 0.5 else difference


@functools.cache
def _allowed(digits: Digits, place: int, length: int) -> Digits:
    """Digits for a place (0 is the lowest) of a number with `length` digits: the highest of several is not zero."""
    if place >= length:
        return (0,)
    return tuple(digit for digit in digits if digit) if place == length - 1 > 0 else digits


@functools.cache
def _columns(first: Digits, second: Digits, carry: int, wanted: int) -> tuple[tuple[int, int], ...]:
    """Pairs of digits whose column carries (`wanted` = 1) or does not, with `carry` coming in."""
    return tuple((x, y) for x in first for y in second if int(x + y + carry >= 10) == wanted)
