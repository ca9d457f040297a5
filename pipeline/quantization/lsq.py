"""Learned step size quantization (LSQ: Esser et al. 2020, arXiv:1902.08153): weights and the scales of their rows learn at five levels.

A module under training computes with digits times scales, rounded exactly as they are stored, so that what was trained is what is
published. Its own weights stay in float32 behind them. Shapes: R rows, K columns.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pipeline import ops
from pipeline.models.base import Model
from pipeline.quantization.grid import SCALE_TYPE, TOP, stored
from pipeline.quantization.modules import PackedMatrix

SMALLEST = 2.0**-30
"""No scale is smaller, so that a row of zeros, whose best scale is 0, can be divided by it."""


class Quantize(torch.autograd.Function):
    """`forward(weight_RK, step_R, mask_width)` is digits times scales, and `backward` the paper's straight-through estimate.

    With r = w / s and q = round(clip(r, -2, 2)), a gradient g goes to w as it is where |r| < mask_width, else not at all (equation 5), and
    to s as g (q - r) where |r| < mask_width, else as g q (equation 3), summed over the row and divided by sqrt(2 K) (section 2.2). The
    paper's mask is as wide as the levels, 2; up to 2.5 a weight still rounds to its nearest level, and can come back from beyond the last.
    """

    @staticmethod
    def forward(ctx: Any, weight_RK: Tensor, step_R: Tensor, mask_width: float) -> Tensor:
        digits_RK, scale_R = digits_and_scales(weight_RK, step_R)
        ctx.save_for_backward(weight_RK, digits_RK, scale_R)
        ctx.mask_width = mask_width
        return digits_RK * scale_R[:, None]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        weight_RK, digits_RK, scale_R = ctx.saved_tensors
        (gradient_RK,) = gradients
        ratio_RK = weight_RK / scale_R[:, None]
        inside_RK = ratio_RK.abs() < ctx.mask_width
        to_step = (gradient_RK * (digits_RK - ratio_RK * inside_RK)).sum(1) / (TOP * weight_RK.shape[1]) ** 0.5
        return gradient_RK * inside_RK, to_step, None


def digits_and_scales(weight_RK: Tensor, step_R: Tensor) -> tuple[Tensor, Tensor]:
    """Digits [R, K] and stored scales [R], both as float32, of weights and their learned steps."""
    scale_R = stored(step_R.clamp_min(SMALLEST))
    return (weight_RK / scale_R[:, None]).clamp(-TOP, TOP).round(), scale_R


class FiveLevels(nn.Module):
    """Parametrization of a matrix [R, K]: `step` [R] learns along with it."""

    def __init__(self, step_R: Tensor, mask_width: float) -> None:
        super().__init__()
        self.step, self.mask_width = nn.Parameter(step_R), mask_width

    def forward(self, weight_RK: Tensor) -> Tensor:
        quantized: Tensor = Quantize.apply(weight_RK, self.step, self.mask_width)  # type: ignore[no-untyped-call]
        return quantized


def attach(module: Model, start: Mapping[str, PackedMatrix], mask_width: float) -> None:
    """Let every quantizable matrix of `module` compute at five levels, from the scales of `start` on; its parameters change their names."""
    names = {id(parameter): name for name, parameter in module.quantizable().items()}
    for child in list(module.modules()):
        name = names.get(id(getattr(child, "weight", None)))
        if name is not None:
            step_R = start[name].scale.float().to(module.device)
            parametrize.register_parametrization(child, "weight", FiveLevels(step_R, mask_width))


@torch.no_grad()
def packed(module: Model) -> dict[str, PackedMatrix]:
    """The matrices of a module after `attach`, by the names they had before it, as they are now computed with."""
    matrices = {}
    for path, child in module.named_modules():
        if parametrize.is_parametrized(child, "weight"):
            parts: Any = child.parametrizations
            weight_RK = parts.weight.original
            digits_RK, scale_R = digits_and_scales(weight_RK, parts.weight[0].step)
            codes = ops.pack(digits_RK.to(torch.int8).cpu())
            matrices[f"{path}.weight"] = PackedMatrix(codes, scale_R.to(SCALE_TYPE).cpu(), weight_RK.shape[1])
    return matrices
