"""A linear map in which the neurons of a column read the same few sources, each with weights of its own.

Sources are a formula of sizes and name, so that no file holds them and every machine finds the same: of F synapses, number k lies
anywhere in the k-th of F equal parts of the sources, as a hash of name, column and k says. So they rise along a row, none comes twice, and
a column's sources are spread evenly. That 16 neurons share them makes a product out of what is a gather where each has its own: a row of x
that is fetched once is used 16 times.
"""

import numpy as np
import torch
from torch import Tensor, nn

from pipeline import rng
from pipeline.ops.fan_in import Synapses, fan_in
from pipeline.ops.reference_fan_in import COLUMN


class FanIn(nn.Module):
    """`weight` [M, F] over F of K sources: F a multiple of 16 and at most K; `sources` [ceil(M / 16), F] int32."""

    sources: Tensor

    def __init__(self, in_features: int, out_features: int, synapses: int, name: str) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.empty(out_features, synapses))
        self.register_buffer("sources", sources(in_features, -(-out_features // COLUMN), synapses, name), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, K] to [B, M]."""
        return fan_in(self.weight, self.sources, x)

    def opened(self) -> Synapses:
        """The same for several calls while the weights stay: their gradient is one tensor."""
        return Synapses(self.weight, self.sources)

    def gathered(self, x: Tensor) -> Tensor:
        """What each synapse gets of x [B, K]: [B, M, F]."""
        columns_BCF = x.index_select(1, self.sources.flatten()).view(-1, *self.sources.shape)
        return columns_BCF.repeat_interleave(COLUMN, 1)[:, : self.out_features]

    def outer(self, y: Tensor, x: Tensor) -> Tensor:
        """Of y [B, R] of the first R targets and x [B, K], the sum over rows of what each synapse connects: [R, F]."""
        with torch.enable_grad():
            weight = self.weight.new_zeros(y.shape[1], self.weight.shape[1]).requires_grad_()
            found: Tensor = torch.autograd.grad(fan_in(weight, self.sources[: -(-y.shape[1] // COLUMN)], x), weight, y)[0]
        return found


def sources(count: int, columns: int, synapses: int, name: str) -> Tensor:
    """The sources of each column [C, F], out of 0 to count - 1."""
    first = np.arange(synapses, dtype=np.uint64) * np.uint64(count) // np.uint64(synapses)
    width = np.append(first[1:], np.uint64(count)) - first
    start = np.uint64(rng.derive(0, "sources", name))
    chances = _mixed(start + np.arange(columns * synapses, dtype=np.uint64)).reshape(columns, synapses) >> np.uint64(32)
    return torch.from_numpy((first + (chances * width >> np.uint64(32))).astype(np.int32))


def _mixed(x: np.ndarray) -> np.ndarray:
    """SplitMix64 (Steele et al. 2014): 64 random bits for each of these numbers."""
    z = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = z ^ (z >> np.uint64(31))
    return mixed
