"""The document's layers: weights at five levels from their first moment on, with a learned step for each output row (LSQ).

    y = (s * q) x + b,    q = round(clip(w / s, -2, 2))

Gradients are `pipeline.quantization.lsq.Quantize`'s: straight through to w inside the range, and to s by the paper's formula. The document
shows one scale for a whole tensor, and a bias at five levels too. One scale a row costs 8 bits a row and is worth several decibels, so it
is what these layers have; the bias is kept in float32, since it is no product's factor, and `bias_levels=5` gives the document's.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pipeline import quantization
from pipeline.models.base import Weights
from pipeline.models.pentary import layers as plain
from pipeline.quantization import grid, lsq
from pipeline.quantization.modules import QUANTIZED, PackedMatrix

LEVELS = 5


class PentaryLinear(nn.Linear):
    """x [..., in_features] to [..., out_features]; weights start uniform by Glorot and Bengio 2010, biases at zero.

    mask_width: how many steps from zero a weight learns (2 to 2.5, see `lsq.Quantize`). bias_levels: None for a bias in float32, or 5.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, mask_width: float = 2.0, bias_levels: int | None = None
    ) -> None:
        super().__init__(in_features, out_features, bias)
        _start(self)
        five_levels(self, mask_width, bias_levels)


class PentaryConv2D(nn.Conv2d):
    """Images [B, in_channels, H, W] to [B, out_channels, H', W'] with zero padding; the rest as `PentaryLinear`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        bias: bool = True,
        *,
        mask_width: float = 2.0,
        bias_levels: int | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        _start(self)
        five_levels(self, mask_width, bias_levels)


class PentaryReLU(nn.ReLU):
    """max(0, x)."""


class PentaryMaxPool2D(nn.MaxPool2d):
    """The largest of each window of images [B, C, H, W]."""

    def __init__(self, kernel_size: int = 2, stride: int = 2) -> None:
        super().__init__(kernel_size, stride)


class PentaryBatchNorm(plain.BatchNorm):
    """Each feature of [B, C], or each channel of [B, C, H, W], by its own mean and variance; folded into the layer before it on export."""

    def __init__(self, num_features: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum)


Linear, Conv2D, ReLU, MaxPool2D, BatchNorm = PentaryLinear, PentaryConv2D, PentaryReLU, PentaryMaxPool2D, PentaryBatchNorm
"""The same by the names that the document lists."""


class _FewLevelBias(lsq.FewLevels):
    """Parametrization of a bias [R] with one step."""

    def forward(self, bias_R: Tensor) -> Tensor:
        return super().forward(bias_R[None])[0]


@torch.no_grad()
def five_levels(layer: Any, mask_width: float = 2.0, bias_levels: int | None = None) -> None:
    """Let a linear layer or convolution compute at five levels from its weights on, the start of least squared error."""
    if bias_levels not in (None, LEVELS):
        raise ValueError(f"bias_levels must be None (float32) or {LEVELS}, not {bias_levels!r}")
    lsq.attach_one(layer, quantization.quantize({"weight": layer.weight}, "the layer")["weight"], mask_width)
    if bias_levels and getattr(layer, "bias", None) is not None:
        _, scale = grid.quantize(layer.bias.detach()[None], bias_levels)
        step = torch.where(scale > 0, scale.float(), 0.01)  # a bias of zeros needs some step to learn by
        parametrize.register_parametrization(layer, "bias", _FewLevelBias(step, mask_width, bias_levels))


def to_five_levels(module: nn.Module, mask_width: float = 2.0, bias_levels: int | None = None) -> None:
    """Let every matrix of a module compute at five levels, from its float weights on; nothing happens to those that do."""
    for layer in matrices(module):
        if not parametrize.is_parametrized(layer, "weight"):
            five_levels(layer, mask_width, bias_levels)


def to_float(module: nn.Module) -> None:
    """Let the float weights behind the digits compute again."""
    for layer in matrices(module):
        _plain(layer, _behind)


def dense(module: Any) -> Any:
    """A copy with plain parameters that hold what is computed with, digits times steps."""
    copied = copy.deepcopy(module)
    for layer in matrices(copied):
        _plain(layer, getattr)
    return copied


def packed(module: Weights) -> tuple[Any, dict[str, PackedMatrix]]:
    """The plain copy of a module (`dense`), and its matrices at five levels by their names in it.

    Least squared error where it is in float.
    """
    copied = dense(module)
    trained = any(parametrize.is_parametrized(layer, "weight") for layer in matrices(module))
    return copied, lsq.packed(module) if trained else quantization.quantize(copied.quantizable(), "the model")


def matrices(module: nn.Module) -> list[nn.Module]:
    """The parts of a module whose weights are quantized."""
    return [part for part in module.modules() if isinstance(part, QUANTIZED)]


def _behind(layer: Any, name: str) -> Tensor:
    weights: Tensor = layer.parametrizations[name].original
    return weights


def _plain(layer: Any, value: Callable[[Any, str], Tensor]) -> None:
    """Take the parametrizations off a layer. torch's own `remove_parametrizations` would take them off all copies of it, too."""
    if parametrize.is_parametrized(layer):
        values = {name: value(layer, name).detach().clone() for name in layer.parametrizations}
        layer.__class__ = parametrize.type_before_parametrizations(layer)
        del layer.parametrizations
        for name, tensor in values.items():
            layer.register_parameter(name, nn.Parameter(tensor))


@torch.no_grad()
def _start(layer: Any) -> None:
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        layer.bias.zero_()
