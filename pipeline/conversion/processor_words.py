"""Digits in words of the Pentary processor: 16 digits in 48 bits, each as three bits of d + 2, the first digit the least significant.

A word lies in six bytes, the least significant first. What fills up the last word of a matrix is 0, that is 2 in three bits.
"""

import numpy as np
import numpy.typing as npt

DIGITS, BYTES = 16, 6


def encode(digits: npt.NDArray[np.int8]) -> bytes:
    """The words of some digits -2..2; `ValueError` for others."""
    if digits.size and (digits.min() < -2 or digits.max() > 2):
        raise ValueError("digits must be -2..2")
    flat = digits.astype(np.uint8).ravel() + np.uint8(2)
    filled = np.pad(flat, (0, -len(flat) % DIGITS), constant_values=2).astype("<u8").reshape(-1, DIGITS)
    words = (filled << (3 * np.arange(DIGITS, dtype=np.uint64))).sum(1).astype("<u8")
    return words.view(np.uint8).reshape(-1, 8)[:, :BYTES].tobytes()


def decode(data: bytes, count: int) -> npt.NDArray[np.int8]:
    """The first `count` digits of words; `ValueError` for too few words, or codes 5 to 7, which are no digits."""
    words = np.zeros((len(data) // BYTES, 8), np.uint8)
    words[:, :BYTES] = np.frombuffer(data[: len(words) * BYTES], np.uint8).reshape(-1, BYTES)
    codes = (words.view("<u8") >> (3 * np.arange(DIGITS, dtype=np.uint64)) & np.uint64(7)).ravel()
    if len(codes) < count:
        raise ValueError(f"{len(codes)} digits where {count} are asked for")
    if codes.size and codes.max() > 4:
        raise ValueError(f"the code {codes.max()} is no digit")
    return codes[:count].astype(np.int8) - np.int8(2)


def size(count: int) -> int:
    """Bytes of so many digits."""
    return -(-count // DIGITS) * BYTES
