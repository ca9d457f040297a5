"""Learned step size quantization (LSQ: Esser et al. 2020, arXiv:1902.08153): weights and the scales of their rows learn at few levels.

A module under training computes with digits times scales, rounded exactly as they are stored, and if asked for with activations rounded as
the int8 kernel does, so that what was trained is what is published. Its own weights stay in float32 behind them. `freeze` ends that: from
then on the digits are what they are, and only scales (and whatever else is no matrix) learn. Shapes: R rows, K columns.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pipeline import ops
from pipeline.models.base import Weights
from pipeline.ops.reference import quantize_activations
from pipeline.quantization.grid import SCALE_TYPE, bounds, stored
from pipeline.quantization.modules import PackedMatrix

SMALLEST = 2.0**-30
"""No scale is smaller, so that a row of zeros, whose best scale is 0, can be divided by it."""
INSIDE = 0.498
"""How far from its digit, in scales, a weight may start: a little less than the half from where it would round to another."""
UNIT_STEP = 0.843
"""The best scale of 5 levels for normal weights of deviation 1 (Max 1960)."""


class Quantize(torch.autograd.Function):
    """`forward(weight_RK, step_R, mask_width, levels)` is digits times scales, and `backward` the paper's straight-through estimate.

    With r = w / s and q = round(clip(r, -2, 2)), a gradient g goes to w as it is where |r| < mask_width, else not at all (equation 5), and
    to s as g (q - r) where |r| < mask_width, else as g q (equation 3), summed over the row and divided by sqrt(2 K) (section 2.2). The
    paper's mask is as wide as the levels, 2; up to 2.5 a weight still rounds to its nearest level, and can come back from beyond the last.
    That is for 5 levels; for other numbers the highest digit takes the place of 2, and the mask is as much wider than the levels.
    """

    @staticmethod
    def forward(ctx: Any, weight_RK: Tensor, step_R: Tensor, mask_width: float, levels: int) -> Tensor:
        digits_RK, scale_R = digits_and_scales(weight_RK, step_R, levels)
        ctx.save_for_backward(weight_RK, digits_RK, scale_R)
        ctx.margin, ctx.bounds = mask_width - 2, bounds(levels)
        return digits_RK * scale_R[:, None]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        weight_RK, digits_RK, scale_R = ctx.saved_tensors
        (gradient_RK,) = gradients
        low, high = ctx.bounds
        ratio_RK = weight_RK / scale_R[:, None]
        inside_RK = (ratio_RK > low - ctx.margin) & (ratio_RK < high + ctx.margin)
        to_step = (gradient_RK * (digits_RK - ratio_RK * inside_RK)).sum(1) / (high * weight_RK.shape[1]) ** 0.5
        return gradient_RK * inside_RK, to_step, None, None


def digits_and_scales(weight_RK: Tensor, step_R: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Digits [R, K] and stored scales [R], both as float32, of weights and their learned steps."""
    scale_R = stored(step_R.clamp_min(SMALLEST))
    return (weight_RK / scale_R[:, None]).clamp(*bounds(levels)).round(), scale_R


class FewLevels(nn.Module):
    """Parametrization of a matrix [R, K] or of kernels [R, C, h, w]: `step` [R] learns along with it."""

    def __init__(self, step_R: Tensor, mask_width: float, levels: int) -> None:
        super().__init__()
        self.step, self.mask_width, self.levels = nn.Parameter(step_R), mask_width, levels

    def forward(self, weight: Tensor) -> Tensor:
        quantized: Tensor = Quantize.apply(weight.flatten(1), self.step, self.mask_width, self.levels)  # type: ignore[no-untyped-call]
        return quantized.view_as(weight)

    def digits_and_scales(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return digits_and_scales(weight.flatten(1), self.step, self.levels)


class FixedDigits(nn.Module):
    """Parametrization of digits [R, K] or [R, C, h, w]: only `step` [R] learns."""

    def __init__(self, step_R: Tensor, levels: int) -> None:
        super().__init__()
        self.step, self.levels = nn.Parameter(step_R), levels

    def forward(self, digits: Tensor) -> Tensor:
        rounding_R = stored(self.step.detach().clamp_min(SMALLEST)) - self.step.detach()
        return digits * (self.step + rounding_R).view(-1, *[1] * (digits.dim() - 1))

    def digits_and_scales(self, digits: Tensor) -> tuple[Tensor, Tensor]:
        return digits.flatten(1), stored(self.step.clamp_min(SMALLEST))


@torch.no_grad()
def attach(module: Weights, start: Mapping[str, PackedMatrix], mask_width: float, activations: str = "float") -> None:
    """Let every quantizable matrix of `module` compute at few levels, from the digits and scales of `start` on.

    Its parameters change their names. A weight that would round to another digit than that of `start` moves to the edge of its digit's
    cell. A row of zeros gets the scale of random weights. `activations` "int8" rounds what each matrix multiplies to 8 bits a token.
    """
    names = {id(parameter): name for name, parameter in module.quantizable().items()}
    for child in list(module.modules()):
        name = names.get(id(getattr(child, "weight", None)))
        if name is not None:
            attach_one(child, start[name], mask_width)
            if activations == "int8":
                _round_inputs(child)


@torch.no_grad()
def attach_one(child: Any, matrix: PackedMatrix, mask_width: float) -> None:
    """The same for one linear, embedding or convolution."""
    weight_RK = child.weight.flatten(1)
    step_R = matrix.scale.float().to(weight_RK.device)
    step_R = torch.where(step_R > 0, step_R, UNIT_STEP / max(1, matrix.columns) ** 0.5)
    child.weight.copy_(_in_cells(weight_RK, matrix.digits().to(weight_RK), step_R, matrix.levels).view_as(child.weight))
    parametrize.register_parametrization(child, "weight", FewLevels(step_R, mask_width, matrix.levels))


def _in_cells(weight_RK: Tensor, digits_RK: Tensor, step_R: Tensor, levels: int) -> Tensor:
    """The weights nearest to the given ones that round to these digits; the outermost cells have no end."""
    low, high = bounds(levels)
    least_RK = torch.where(digits_RK > low, digits_RK - INSIDE, -torch.inf) * step_R[:, None]
    most_RK = torch.where(digits_RK < high, digits_RK + INSIDE, torch.inf) * step_R[:, None]
    return weight_RK.clamp(least_RK, most_RK)


class _Rounded(torch.autograd.Function):
    """Activations as the int8 kernel rounds them; gradients pass straight through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        q, scale = quantize_activations(x.float())
        return (q * scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0]


def _round_inputs(child: Any) -> None:
    """Round what a linear (each token) or a convolution gets (each image as a whole), or an embedding's `project`, the output matrix."""
    if isinstance(child, nn.Linear):
        child.register_forward_pre_hook(lambda module, arguments: (_Rounded.apply(arguments[0]),))
    elif isinstance(child, nn.Conv2d):
        child.register_forward_pre_hook(lambda module, arguments: (_Rounded.apply(arguments[0].flatten(1)).view_as(arguments[0]),))
    elif hasattr(child, "project"):
        project = child.project
        child.project = lambda x: project(_Rounded.apply(x))


@torch.no_grad()
def freeze(module: Weights) -> None:
    """Fix the digits of a module after `attach`: only their scales and what is no matrix learn from now on."""
    child: Any
    for child in list(module.modules()):
        if parametrize.is_parametrized(child, "weight"):
            parts: Any = child.parametrizations
            few, original = parts.weight[0], parts.weight.original
            digits_RK, _ = few.digits_and_scales(original)
            parametrize.remove_parametrizations(child, "weight")
            child.weight.copy_(digits_RK.view_as(child.weight))
            child.weight.requires_grad_(False)
            parametrize.register_parametrization(child, "weight", FixedDigits(few.step.detach().clone(), few.levels))


@torch.no_grad()
def packed(module: Weights) -> dict[str, PackedMatrix]:
    """The matrices of a module after `attach`, by the names they had before it, as they are now computed with."""
    matrices = {}
    for path, child in module.named_modules():
        if parametrize.is_parametrized(child, "weight"):
            parts: Any = child.parametrizations
            few = parts.weight[0]
            digits_RK, scale_R = few.digits_and_scales(parts.weight.original)
            codes = ops.pack(digits_RK.to(torch.int8).cpu(), few.levels)
            matrices[f"{path}.weight"] = PackedMatrix(codes, scale_R.to(SCALE_TYPE).cpu(), digits_RK.shape[1], few.levels)
    return matrices
