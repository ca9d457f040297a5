"""A window of tokens through a brain of six spiking modules, forwards and backwards, each pass one native call on a CPU.

`pipeline.models.neurogen.brain.Cycle` defines what is computed. Tensors come by name; native/bindings/brain.cpp has their shapes, and
native/include/quintet/brain.hpp says what they are.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.ops import native

Tensors = Mapping[str, Tensor | None]


class Window(NamedTuple):
    """What both passes get: sizes, constants and what is given from outside."""

    neurons: Sequence[int]
    """Of each module."""
    steps: Sequence[int]
    """Internal steps of each module's phase."""
    numbers: Mapping[str, float]
    """rho, beta, height, epsilon, key_threshold, slack."""
    inputs: Tensors


def columns(neurons: Sequence[int], keys: int) -> dict[str, int]:
    """Where the sums of a token begin in a row of them, by name, and their number ("width")."""
    found: dict[str, int] = native.call("brain_columns", list(neurons), keys)
    return found


def forward(window: Window, kept: Tensors) -> None:
    """All tokens, into the histories and sums of `kept`. `ValueError` that names the tensor for a wrong type, size or token."""
    _call("brain_forward", window, kept)


def backward(window: Window, kept: Tensors, gradients: Tensors) -> None:
    """The gradients by the sums and by vectors of parameters, from those of the modules' rates (None: zero)."""
    _call("brain_backward", window, kept, gradients)


def _call(name: str, window: Window, *tensors: Tensors) -> None:
    neurons, steps, numbers, inputs = window
    handles = [dict(zip(each, native.handles(*each.values()), strict=True)) for each in (inputs, *tensors)]
    native.call(name, list(neurons), list(steps), dict(numbers), torch.get_num_threads(), *handles)
