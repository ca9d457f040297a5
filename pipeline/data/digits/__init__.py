"""Digits in three modalities: images, sentences with a number word in them, and spoken recordings.

Raw documents are plain text, a digit each. The id says what it is, and by whom it was spoken: `image/7/00042`, `text/7/00042`,
`audio/7/jackson/12`. Images are plain portable graymaps (P2), recordings data URIs (RFC 2397) of WAV files.
"""

import numpy as np

from pipeline import io

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Random numbers of their own for everything that is made up."""
    return np.random.Generator(np.random.PCG64(int(io.digest(["digits", seed, *names])[:16], 16)))
