"""Generating equations: all of a range, or a sample in balance over lengths and carries; and the codec for them."""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.data.arithmetic.balanced import sample
from pipeline.data.arithmetic.codec import Codec
from pipeline.data.arithmetic.equations import Equation
from pipeline.data.arithmetic.rules import answer, numbers
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.schema.data import ArithmeticDataset

Range = tuple[int, int]


def generate(block: "ArithmeticDataset", seed: int) -> Iterator[str]:
    """Equations such as `12+34=46`, none twice, in an order that is a function of block and seed; raises `UserError` if there are none."""
    equations = sample(block, seed) if block.sampling == "balanced" else _all(block)
    first = next(equations, None)
    if first is None:
        raise UserError(f"no equation has operands {block.minimum}..{block.maximum} and digits {block.allowed_digits}: widen either")
    return itertools.chain([first], equations)


def _all(block: "ArithmeticDataset") -> Iterator[str]:
    signs = list(itertools.product(block.operators, repeat=block.operands - 1))
    for operands in itertools.product(numbers(block), repeat=block.operands):
        for operators in signs:
            result = answer(block, operands, operators)
            if result is not None:
                yield f"{Equation(operands, operators).problem}={result}"


def codec_for(block: "ArithmeticDataset") -> Codec:
    """The codec for all problems of a block."""
    low, high = answer_range(block.operators, block.minimum, block.maximum, block.operands)
    return Codec(block.operators, block.operands, block.minimum, block.maximum, low if block.negative_results else max(low, 0), high)


def answer_range(operators: Sequence[str], minimum: int, maximum: int, operands: int) -> Range:
    """Bounds of every answer: products and quotients of k operands first, then sums of such terms."""
    terms = {1: (minimum, maximum)}
    for factors in range(2, operands + 1):
        reached = [_product(terms[factors - 1], (minimum, maximum), operator) for operator in operators if operator in ("*", "//")]
        if reached:
            terms[factors] = _hull(reached)
    sums: dict[int, Range] = {}
    for count in range(1, operands + 1):
        reached = [terms[count]] if count in terms else []
        for factors, (low, high) in terms.items():
            if before := sums.get(count - factors):
                reached += [(before[0] + low, before[1] + high)] if "+" in operators else []
                reached += [(before[0] - high, before[1] - low)] if "-" in operators else []
        if reached:
            sums[count] = _hull(reached)
    return sums[operands]


def _product(term: Range, factor: Range, operator: str) -> Range:
    if operator == "*":
        corners = [x * y for x in term for y in factor]
        return min(corners), max(corners)
    # Rounding down never makes a quotient by an integer larger in magnitude than its dividend.
    largest = max(map(abs, term))
    return (0, largest) if min(term[0], factor[0]) >= 0 else (-largest, largest)


def _hull(ranges: Sequence[Range]) -> Range:
    return min(low for low, _ in ranges), max(high for _, high in ranges)
