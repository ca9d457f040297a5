"""How a RealNet's output is compared with its targets: shapes checked, masks honoured by any of torch's losses."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]
Transform = Callable[[Tensor], Tensor]
ELEMENTWISE = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCELoss, nn.BCEWithLogitsLoss)
"""Losses that compare element with element, so that the shapes must be equal: torch would stretch (B,) over (B, 1) with a mere warning."""


def compare(loss_fn: Loss, output: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """The loss; with a mask, the mean of the unreduced losses weighted by it. `ValueError` for shapes that do not fit."""
    if isinstance(loss_fn, ELEMENTWISE):
        require_same_shape(output, target)
    elif isinstance(loss_fn, nn.CrossEntropyLoss) and output.dim() > 1 and not target.is_floating_point():
        _require_classes(output, target, loss_fn.ignore_index)
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


def with_gradient(
    loss_fn: Loss, output: Tensor, target: Tensor, mask: Tensor | None, transform: Transform | None, share: float
) -> tuple[Tensor, Tensor]:
    """The loss of the transformed output, and `share` of its gradient with respect to the output, which has no history.

    Whatever else the loss depends on gets its share in its own `grad`.
    """
    if type(loss_fn) is nn.MSELoss and loss_fn.reduction == "mean" and mask is None and transform is None and not target.requires_grad:
        require_same_shape(output, target)
        error = output - target
        return (error * error).mean(), error * (2 * share / max(error.numel(), 1))
    leaf = output.detach().requires_grad_()
    loss = compare(loss_fn, leaf if transform is None else transform(leaf), target, mask)
    (loss * share).backward()
    return loss.detach(), torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _require_classes(output: Tensor, target: Tensor, ignored: int) -> None:
    """A class for each row of the output [B, O] or [B, O, ...]; torch's own errors name neither the argument nor the row."""
    wanted, classes = [*output.shape[:1], *output.shape[2:]], output.shape[1]
    if list(target.shape) != wanted:
        raise ValueError(f"target_values must have the shape {wanted}, a class for each output, not {list(target.shape)}")
    wrong = ((target < 0) | (target >= classes)) & (target != ignored)
    if wrong.any():
        found = int(target[wrong][0])
        raise ValueError(f"target_values must hold classes from 0 to {classes - 1}, one an output neuron, not {found}")


def require_same_shape(output: Tensor, target: Tensor) -> None:
    if output.shape != target.shape:
        raise ValueError(f"target_values must have the output's shape {list(output.shape)}, not {list(target.shape)}")
