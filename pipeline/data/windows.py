"""A split as evaluation reads it: the whole text once, in order, in windows side by side.

A model with a recurrent state reads on past the window of its training: its windows are long, about `STREAMS` in all.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[Any]

STREAMS = 64
"""Places where a model with a recurrent state begins to read a split, side by side: few enough that what it reads first hardly counts."""


def length(tokens: Tokens, context: int, recurrent: bool) -> int:
    """Inputs of a window: the context, or for a model with a recurrent state the fewest contexts that leave at most `STREAMS` windows."""
    return context * max(1, -(-(len(tokens) - 1) // (STREAMS * context))) if recurrent else context


def full(tokens: Tokens, context: int) -> Tokens:
    """Full windows [N, context + 1] as a view: `context` inputs and, one further on, the last target, which is the next one's first input.

    Raises `ValueError` where the text is shorter than one window.
    """
    if len(tokens) <= context:
        raise ValueError(f"{len(tokens)} tokens are too few for windows of {context + 1}")
    return np.lib.stride_tricks.sliding_window_view(tokens, context + 1)[::context]


def rest(tokens: Tokens, context: int) -> Tokens:
    """What the full windows leave at the end, as one shorter window [1, R + 1] of R inputs; R may be 0."""
    return tokens[None, (len(tokens) - 1) // context * context :]
