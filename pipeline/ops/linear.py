"""`linear` and `embedding` on packed 5-level weights.

Until here is a kernel that reads the codes directly, they are decoded by the native `unpack` for each call.
"""

import torch.nn.functional as F
from torch import Tensor

from pipeline.ops.packing import unpack


def linear(x: Tensor, packed: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., K] times the transpose of scale [R] x digits (packed [R, P]), plus bias [R]: [..., R] in x's type."""
    y = F.linear(x, unpack(packed, x.shape[-1]).to(x.dtype)) * scale.to(x.dtype)
    return y if bias is None else y + bias


def embedding(tokens: Tensor, packed: Tensor, scale: Tensor, columns: int) -> Tensor:
    """Rows `tokens` [...] of scale [R] x digits (packed [R, P]): float32 [..., columns]."""
    digits = unpack(packed[tokens.flatten()], columns)
    rows = digits.float() * scale[tokens.flatten(), None].float()
    return rows.view(*tokens.shape, columns)
