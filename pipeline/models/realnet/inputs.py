"""What may go into a RealNet, and when it enters: the one place that reads an input's type and shape.

Shapes: B rows, S frames (tokens) of a sequence, I input neurons, N neurons, V_in the width of an encoder's input.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Timing(NamedTuple):
    """When frames enter, and which states are read."""

    every: int
    """Steps from one frame to the next."""
    hold: bool
    """Whether a frame stays until the next one comes."""
    collect: int
    """Steps between the states that are read."""


def timing(x: Tensor, steps: int, pulse: bool) -> Timing:
    """A sequence of S frames gets steps / S steps each, the rest of them silent, and is read once a frame; a single frame enters once
    (pulse) or at each step (continuous), and is read at each step.

    `ValueError` for steps below 1, below the number of frames, or no multiple of it (a remainder would run unread).
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, not {steps!r}")
    if not is_sequence(x):
        return Timing(every=steps, hold=not pulse, collect=1)
    frames = x.shape[1]
    if frames == 0:
        raise ValueError(f"x_input {list(x.shape)} must hold at least one token")
    if steps % frames:
        below, above = steps // frames * frames, (steps // frames + 1) * frames
        choice = f"{below} or {above}" if below else f"{above}"
        raise ValueError(f"steps = {steps} must be a multiple of the {frames} tokens of x_input: choose {choice}")
    return Timing(every=steps // frames, hold=False, collect=steps // frames)


def is_sequence(x: Tensor) -> bool:
    """Whole numbers [B, S] are tokens; floats [B, S, features] are frames; floats [B, features] are a single one."""
    return x.dim() == 3 or not x.is_floating_point()


def check_shape(x: Tensor) -> None:
    """`ValueError` unless x is whole numbers [B, S], or floats [B, features] or [B, S, features]."""
    if x.is_floating_point():
        if x.dim() not in (2, 3):
            raise ValueError(f"x_input of {x.dtype} must be [batch, features] or [batch, tokens, features], not {list(x.shape)}")
    elif x.dtype in (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8):
        if x.dim() != 2:
            raise ValueError(f"x_input of {x.dtype} must be tokens [batch, tokens], not {list(x.shape)}")
    else:
        raise ValueError(f"x_input must hold whole numbers or floats, not {x.dtype}")


def check_tokens(tokens: Tensor, least: int, below: int, what: str) -> None:
    """`ValueError` that names the first token outside of [least, below)."""
    wrong = (tokens < least) | (tokens >= below)
    if wrong.any():
        row, column = (int(i) for i in wrong.nonzero()[0])
        raise ValueError(f"x_input[{row}, {column}] = {int(tokens[row, column])} must be from {least} to {below - 1}: {what}")


def one_hot(tokens: Tensor, inputs: int) -> Tensor:
    """Tokens [B, S] without an encoder: token k is a pulse of 1 on the k-th input neuron, -1 is silence. Returns [B, S, I]."""
    check_tokens(tokens, -1, inputs, f"one of the {inputs} input neurons, or -1 for silence")
    pulses = torch.nn.functional.one_hot(tokens.long() + 1, inputs + 1)
    return pulses[..., 1:].float()


def features(x: Tensor, places: Tensor, neurons: int) -> Tensor:
    """Dense input without an encoder: [..., I] features in the order of input_ids, or [..., N] values for all neurons. Returns [..., I].

    `ValueError` for another width, and for values at neurons that receive no input.
    """
    width, inputs = x.shape[-1], len(places)
    if width == neurons:
        silent = torch.ones(neurons, dtype=torch.bool, device=x.device).index_fill(0, places, False)
        if x[..., silent].any():
            raise ValueError("x_input holds values other than 0 at neurons that are not in input_ids")
        return x[..., places]
    if width != inputs:
        raise ValueError(f"x_input {list(x.shape)} must end with {inputs} features (one an input neuron) or with all {neurons} neurons")
    return x
