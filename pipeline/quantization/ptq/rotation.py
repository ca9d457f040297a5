"""Changes of basis that leave what a model computes as it is, but make its weights and activations easier to round.

A random-sign Hadamard matrix spreads each large weight over all of a row (QuaRot: Ashkboos et al. 2024, arXiv:2404.00456). Where one linear
map follows another, Q after the first and Q^T before the second cancel out, and both can be multiplied into the weights.
Shapes: N channels of a basis.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline import rng
from pipeline.models.base import Model


def rotate(module: Model, seed: int) -> Model:
    """The same function in other bases, as the family's `rebased` sees to it; the module itself where there are none."""

    def basis(name: str, size: int) -> Tensor:
        return hadamard(size, rng.generator(seed, "rotation", name))

    return module.rebased(basis)


Bases = Callable[[str, int], Tensor]


def hadamard(size: int, stream: torch.Generator) -> Tensor:
    """An orthogonal float64 [N, N]: blocks of a Hadamard matrix, as large as a power of two that divides N, with random signs."""
    block = size & -size
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < block:
        matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)))
    signs = torch.randint(0, 2, (size, 1), generator=stream) * 2.0 - 1
    return torch.block_diag(*[matrix / block**0.5] * (size // block)) * signs
