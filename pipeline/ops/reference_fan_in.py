"""The definition of a sparse connection in plain torch. The native kernel is tested against it.

Shapes: B rows, K sources, M targets, F synapses a target.
"""

import torch
from torch import Tensor

COLUMN = 16
"""Targets that follow one another share their sources: so many are a column."""


def fan_in(weight: Tensor, sources: Tensor, x: Tensor) -> Tensor:
    """y[b, i] = sum over f of weight[i, f] x[b, sources[i // 16, f]], [B, M]; weight [M, F], sources [ceil(M / 16), F], x [B, K]."""
    targets, fan = weight.shape
    gathered_BCF = x.index_select(1, sources.reshape(-1)).view(-1, len(sources), fan)
    missing = len(sources) * COLUMN - targets
    columns_CIF = torch.nn.functional.pad(weight, (0, 0, 0, missing)).view(len(sources), COLUMN, fan)
    y: Tensor = torch.einsum("bcf,cif->bci", gathered_BCF, columns_CIF).flatten(1)
    return y[:, :targets]
