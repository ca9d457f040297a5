"""How a RealNet's output is compared with its targets: shapes checked, masks honoured by any of torch's losses."""

import copy
from collections.abc import Callable

from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]
ELEMENTWISE = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCELoss, nn.BCEWithLogitsLoss)
"""Losses that compare element with element, so that the shapes must be equal: torch would stretch (B,) over (B, 1) with a mere warning."""


def compare(loss_fn: Loss, output: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """The loss; with a mask, the mean of the unreduced losses weighted by it. `ValueError` for shapes that do not fit."""
    if isinstance(loss_fn, ELEMENTWISE) and output.shape != target.shape:
        raise ValueError(f"target_values must have the output's shape {list(output.shape)}, not {list(target.shape)}")
    if mask is None:
        return loss_fn(output, target)
    if not isinstance(loss_fn, nn.Module) or not hasattr(loss_fn, "reduction"):
        raise ValueError("mask needs a loss of torch.nn with a `reduction`: give one as loss_fn, or weigh the outputs in output_transform")
    single = copy.copy(loss_fn)
    single.reduction = "none"  # type: ignore[assignment]
    losses = single(output, target)
    if mask.shape != losses.shape:
        raise ValueError(f"mask must have the losses' shape {list(losses.shape)}, not {list(mask.shape)}")
    weight = mask.to(losses.dtype)
    return (losses * weight).sum() / weight.sum().clamp(min=1e-12)
