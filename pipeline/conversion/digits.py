"""Digits in whole bytes, for programs without our kernels: each byte is a base-L number of as many digits as fit, decoded by a table."""

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint8]
Digits = npt.NDArray[np.int8]


def per_byte(levels: int) -> int:
    """Digits of `levels` values that fit in a byte: 5 of three values, 3 of five, 2 of up to fifteen, 1 of 256."""
    count = 1
    while levels ** (count + 1) <= 256:
        count += 1
    return count


def table(levels: int) -> Digits:
    """The digits [L^n, n] of each code, the first digit the least significant; the smallest is -(L // 2)."""
    count = per_byte(levels)
    places = levels ** np.arange(count)
    numbers = np.arange(levels**count)[:, None] // places % levels - levels // 2
    return numbers.astype(np.int8)


def encode(digits_RK: Digits, levels: int) -> Codes:
    """Codes [R, ceil(K / n)]; the last is filled up with zeros. `ValueError` for a digit that is none of the levels'."""
    count, offset = per_byte(levels), levels // 2
    raised = digits_RK.astype(np.int64) + offset
    if raised.size and not (raised.min() >= 0 and raised.max() < levels):
        raise ValueError(f"digits must be {-offset}..{levels - 1 - offset}")
    filled = np.pad(raised, ((0, 0), (0, -raised.shape[1] % count)), constant_values=offset)
    codes: Codes = (filled.reshape(len(filled), -1, count) @ levels ** np.arange(count)).astype(np.uint8)
    return codes
