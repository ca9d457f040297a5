"""Synapses: projections whose weights' gradient is taken once for a whole window instead of once a token.

A matrix is used at each token on B rows. One product over all tokens' rows at the window's end is several times faster than as many small
ones that add up, and gives the same sum.
"""

from typing import Any

import torch
from torch import Tensor

Uses = list[tuple[Tensor, Tensor]]
"""For each use of a matrix its inputs [B, K] and the gradient of its outputs [B, M]."""


class _Gather(torch.autograd.Function):
    """The matrix itself; its backward pass comes after those of all its uses."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, uses: Uses) -> Tensor:
        ctx.uses = uses
        ctx.set_materialize_grads(False)
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, _: Tensor | None) -> tuple[Tensor | None, None]:
        if not ctx.uses:
            return None, None
        inputs, outputs = (torch.cat(parts) for parts in zip(*ctx.uses, strict=True))
        ctx.uses.clear()
        return outputs.t() @ inputs, None


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, uses: Uses) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.uses = uses
        return x @ weight.t()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        ctx.uses.append((x, gradient))
        return gradient @ weight if ctx.needs_input_grad[0] else None, None, None


class Projection:
    """A matrix [M, K] for the tokens of one window."""

    def __init__(self, weight_MK: Tensor) -> None:
        self.uses: Uses = []
        self.deferred = torch.is_grad_enabled() and weight_MK.requires_grad
        self.weight: Tensor = _Gather.apply(weight_MK, self.uses) if self.deferred else weight_MK

    def __call__(self, x_BK: Tensor) -> Tensor:
        """x Wᵀ [B, M]."""
        if self.deferred:
            product: Tensor = _Project.apply(x_BK, self.weight, self.uses)
            return product
        return x_BK @ self.weight.t()
