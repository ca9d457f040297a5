"""Which numbers and answers a block of params.yaml lets in."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.data.arithmetic.equations import value

if TYPE_CHECKING:
    from pipeline.schema.data import ArithmeticDataset


def numbers(block: "ArithmeticDataset") -> list[int]:
    """All operands of the range that have only allowed digits, in increasing order."""
    return [number for number in range(block.minimum, block.maximum + 1) if _has_allowed_digits(block, number)]


def answer(block: "ArithmeticDataset", operands: Sequence[int], operators: Sequence[str]) -> int | None:
    """The answer, or `None` where there is none (division by zero) or the block leaves the equation out."""
    if not all(block.minimum <= operand <= block.maximum for operand in operands):
        return None
    try:
        result = value(operands, operators)
    except ZeroDivisionError:
        return None
    unwanted = result < 0 and not block.negative_results
    return result if not unwanted and all(_has_allowed_digits(block, number) for number in (*operands, result)) else None


def _has_allowed_digits(block: "ArithmeticDataset", number: int) -> bool:
    return set(str(abs(number))) <= set(block.allowed_digits)
