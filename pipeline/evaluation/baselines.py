"""What a model has to beat: counts of single tokens and of pairs in the training split, and a general-purpose compressor.

All predict the same tokens of the same windows as the models do, so that the figures stand side by side.
"""

import bz2
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

PART = 1 << 22
"""Tokens that are counted at once, which bounds the memory."""

Ids = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Unigram:
    """Shares of the tokens, every count raised by one (Laplace), so that none is impossible."""

    probability_V: Floats

    @classmethod
    def fit(cls, tokens_N: Ids, vocab_size: int) -> "Unigram":
        counts = np.ones(vocab_size)
        for start in range(0, len(tokens_N), PART):
            counts += np.bincount(tokens_N[start : start + PART], minlength=vocab_size)
        return cls(counts / counts.sum())

    def losses(self, targets: Ids) -> Floats:
        """Nats of each target, in the targets' shape."""
        return -np.log(self.probability_V[targets])


@dataclass(frozen=True)
class Bigram:
    """Counts of pairs, interpolated with the unigram as Witten and Bell (1991) do:

        p(b | a) = (c(a, b) + k(a) p(b)) / (c(a) + k(a)),   k(a): how many different tokens follow a

    Pairs are kept sorted and sparse, so that a vocabulary of 50,000 needs no table of 50,000 squared.
    """

    unigram: Unigram
    pairs: npt.NDArray[np.int64]
    """Codes a * V + b of the pairs that occur, increasing."""
    counts: npt.NDArray[np.int64]
    followed_V: npt.NDArray[np.int64]
    """c(a): how often a is followed by anything."""
    kinds_V: npt.NDArray[np.int64]

    @classmethod
    def fit(cls, tokens_N: Ids, vocab_size: int) -> "Bigram":
        pairs = counts = np.zeros(0, dtype=np.int64)
        for start in range(0, len(tokens_N) - 1, PART):
            tokens = np.asarray(tokens_N[start : start + PART + 1], dtype=np.int64)
            found, often = np.unique(tokens[:-1] * vocab_size + tokens[1:], return_counts=True)
            pairs, place = np.unique(np.concatenate((pairs, found)), return_inverse=True)
            counts = np.bincount(place, np.concatenate((counts, often))).astype(np.int64)
        followed = np.bincount(pairs // vocab_size, counts, vocab_size).astype(np.int64)
        return cls(Unigram.fit(tokens_N, vocab_size), pairs, counts, followed, np.bincount(pairs // vocab_size, minlength=vocab_size))

    def losses(self, previous: Ids, targets: Ids) -> Floats:
        """Nats of each target after its predecessor, in the targets' shape; after a token never seen, the unigram's."""
        a, b = np.asarray(previous, dtype=np.int64), np.asarray(targets, dtype=np.int64)
        lower = self.unigram.probability_V[b]
        total, kinds = self.followed_V[a], self.kinds_V[a]
        probability = (self._count(a, b) + kinds * lower) / np.maximum(total + kinds, 1)
        return -np.log(np.where(total > 0, probability, lower))

    def _count(self, a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        code = a * len(self.followed_V) + b
        place = np.minimum(np.searchsorted(self.pairs, code), len(self.pairs) - 1)
        return np.where(self.pairs[place] == code, self.counts[place], 0)


def compressed_bits_per_byte(text: str) -> float:
    """Bits per byte of a text under bzip2 -9, which learns from that text alone and whose output is the same in every version."""
    data = text.encode()
    return 8 * len(bz2.compress(data, 9)) / len(data)


def bits_per_byte(nats_per_token: float, tokens: int, utf8_bytes: int) -> float:
    """Bits per byte of a text of so many tokens and bytes."""
    return nats_per_token * tokens / math.log(2) / utf8_bytes
