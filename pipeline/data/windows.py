"""A split as evaluation reads it: the whole text once, in order, in windows side by side."""

from typing import Any

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[Any]


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
