"""A batch, and its cut into windows of time for truncated backpropagation."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.models.realnet.inputs import is_sequence

Steps = int | tuple[int, int]
"""A number of thinking steps, or (least, most): then each update draws one, and the network learns to answer at any of them."""


@dataclass(frozen=True)
class Batch:
    """What goes in, what should come out, how much each of it counts, and for how many steps."""

    x: Tensor
    y: Tensor
    mask: Tensor | None
    steps: int


def windows(batch: Batch, size: int, pulse: bool) -> Iterator[Batch]:
    """The batch as stretches of `size` steps (the last may be shorter), with targets and mask [B, C, ...] cut alike.

    After its first window a single frame is silent (`pulse`) or goes on. `ValueError` where targets are not one a read step, and where a
    window would end amid a token.
    """
    x, steps = batch.x, batch.steps
    sequence = is_sequence(x)
    every = steps // x.shape[1] if sequence else 1
    if size < 1 or size % every:
        raise ValueError(f"tbptt_steps = {size} must be a positive multiple of the {every} steps that a token gets")
    for name, values in (("target_values", batch.y), ("mask", batch.mask)):
        if values is not None and (values.dim() < 2 or values.shape[1] != steps // every):
            raise ValueError(f"{name} {list(values.shape)} must hold {steps // every} read steps in dimension 1 for tbptt_steps")
    for begin in range(0, steps, size):
        count = min(size, steps - begin)
        part = slice(begin // every, (begin + count) // every)
        frames = x[:, part] if sequence else torch.zeros_like(x) if pulse and begin else x
        yield Batch(frames, batch.y[:, part], None if batch.mask is None else batch.mask[:, part], count)


def draw(steps: Steps, x: Tensor) -> int:
    """The number itself, or one of (least, most) by torch's random numbers; for sequences a multiple of the tokens."""
    if isinstance(steps, int):
        return steps
    least, most = steps
    unit = x.shape[1] if is_sequence(x) else 1
    first, last = -(-least // unit), most // unit
    if not 1 <= first <= last:
        raise ValueError(f"thinking_steps = {steps} must be (least, most) around a multiple of {unit}")
    return unit * int(torch.randint(first, last + 1, ()))
