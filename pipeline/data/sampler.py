"""What a training step sees: pure functions of (seed, step, rank, world size), so that resuming at a step needs no history.

`batch_size` is that of all ranks together; rank r takes the r-th slice of it. So the union over the ranks is the same for every
world size. Random numbers come from SplitMix64 (Steele, Lea and Flood 2014) applied to a counter.
"""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.rng import derive

Indices = npt.NDArray[np.int64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def language_batch(
    tokens: npt.NDArray[Any], seed: int, step: int, batch_size: int, context: int, rank: int = 0, world: int = 1
) -> torch.Tensor:
    """Windows of the text: int64 [batch_size / world, context + 1]; inputs are [:, :-1], targets [:, 1:].

    Each epoch cuts the text into windows side by side, from a place of its own, and takes every window once in an order of its own. So
    nearly every token is learnt from once an epoch, where windows at random places would leave out 37 % of them.
    Raises `ValueError` where the text is shorter than a window or the world does not divide the batch.
    """
    if len(tokens) <= context:
        raise ValueError(f"{len(tokens)} tokens are too few for windows of {context + 1}")
    windows = max(1, len(tokens) // context - 1)
    starts = np.concatenate(
        [
            _offset(len(tokens) - windows * context, seed, epoch) + _order(windows, seed, epoch)[places] * context
            for epoch, places in _epochs(_positions(step, batch_size, rank, world), windows)
        ]
    )
    return torch.from_numpy(tokens[starts[:, None] + _span(context + 1)].astype(np.int64))


def stream_batch(tokens: npt.NDArray[Any], seed: int, step: int, streams: int, context: int) -> torch.Tensor:
    """Windows of parallel streams through the text, int64 [streams, context + 1]: in each, a step's window begins where the last one ended.

    The streams start evenly spread, all moved by one random number, and go on at the text's beginning when they come to its end.
    Raises `ValueError` where the text is shorter than a window.
    """
    if len(tokens) <= context:
        raise ValueError(f"{len(tokens)} tokens are too few for windows of {context + 1}")
    starts = _span(streams) * len(tokens) // streams + _offset(len(tokens), seed, 0) + step * context
    return torch.from_numpy(tokens[(starts[:, None] + _span(context + 1)) % len(tokens)].astype(np.int64))


def row_batch(rows: int, seed: int, step: int, batch_size: int, rank: int = 0, world: int = 1) -> Indices:
    """Row numbers [batch_size / world]: every row once an epoch, each epoch in an order of its own; a batch may span two epochs."""
    epochs = _epochs(_positions(step, batch_size, rank, world), rows)
    return np.concatenate([_order(rows, seed, epoch)[places] for epoch, places in epochs])


def _positions(step: int, batch_size: int, rank: int, world: int) -> Indices:
    if batch_size % world or not 0 <= rank < world:
        raise ValueError(f"rank {rank} of {world} cannot take its share of a batch of {batch_size}")
    share = batch_size // world
    return _span(share) + (step * batch_size + rank * share)


def _epochs(positions: Indices, size: int) -> list[tuple[int, Indices]]:
    """Consecutive positions in an endless row of epochs as pairs of an epoch and the places within it."""
    first, last = int(positions[0]) // size, int(positions[-1]) // size
    return [(epoch, positions[positions // size == epoch] - epoch * size) for epoch in range(first, last + 1)]


@functools.lru_cache(maxsize=8)
def _span(length: int) -> Indices:
    return np.arange(length)


@functools.lru_cache(maxsize=8)
def _key(seed: int, *names: str | int) -> np.uint64:
    return np.uint64(derive(seed, *names))


@functools.lru_cache(maxsize=2)
def _order(rows: int, seed: int, epoch: int) -> Indices:
    """The permutation of one epoch: the order of the rows' random numbers."""
    return np.argsort(_mix(np.arange(rows, dtype=np.uint64), _key(seed, "rows", epoch)), kind="stable")


@functools.lru_cache(maxsize=2)
def _offset(choices: int, seed: int, epoch: int) -> int:
    """Where an epoch's first window starts: below `choices`."""
    return int(_mix(np.zeros(1, dtype=np.uint64), _key(seed, "offset", epoch))[0]) % choices


def _mix(counter: npt.NDArray[np.uint64], key: np.uint64) -> npt.NDArray[np.uint64]:
    """SplitMix64's output function at `counter` steps from the state `key`: 64 uniformly random bits each."""
    z = counter * _GOLDEN + key
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
