"""Five levels: a weight becomes a digit q in {-2, -1, 0, 1, 2} times its row's scale s. The s of least squared error is found exactly.

For a fixed choice of digits, sum (w - s q)^2 is least at s = sum w q / sum q^2, where it is sum w^2 - (sum w q)^2 / sum q^2. The digits of
the best s are the nearest ones for it, so only such choices matter. As s falls from infinity to 0, |w| moves from digit j - 1 to j at
s = |w| / (j - 1/2): a row's sorted breakpoints pass through all its choices, and running sums score each one by (sum w q)^2 / sum q^2.
Shapes: R rows, K columns.
"""

import math

import torch
from torch import Tensor

TOP = 2
"""The highest digit: 2 * TOP + 1 levels."""
CHUNK = 1 << 20
"""Weights that are searched at a time: bounds the memory."""
SCALE_TYPE = torch.bfloat16
"""What scales are stored as: float32's range, and an error (2^-9 at most) that costs 0.0001 dB of the 11 dB that five levels give."""


def quantize(weight_RK: Tensor) -> tuple[Tensor, Tensor]:
    """Digits int8 [R, K] and scales bfloat16 [R] of least squared error; weights must be finite, rows of zeros get scale 0."""
    rows = max(1, CHUNK // max(1, weight_RK.shape[1]))
    scales = [best_scale(chunk) for chunk in weight_RK.split(rows)]
    scale_R = torch.cat(scales).clamp(max=torch.finfo(SCALE_TYPE).max).to(SCALE_TYPE)
    return nearest(weight_RK, scale_R), scale_R


def best_scale(weight_RK: Tensor) -> Tensor:
    """The exact minimiser s [R] (float64) of sum_k (w - s q)^2 over s and digits q; 0 for a row of zeros."""
    if weight_RK.shape[1] == 0:
        return torch.zeros(weight_RK.shape[0], dtype=torch.float64)
    size_RK = weight_RK.double().abs()
    digit = torch.arange(1, TOP + 1, dtype=torch.float64)
    breakpoints = (size_RK[..., None] / (digit - 0.5)).flatten(1)
    order = breakpoints.argsort(dim=1, descending=True, stable=True)
    wq = size_RK.gather(1, order // TOP).cumsum(1)
    qq = (2 * digit - 1)[order % TOP].cumsum(1)
    best = (wq.square() / qq).argmax(1, keepdim=True)
    return (wq.gather(1, best) / qq.gather(1, best)).squeeze(1)


def nearest(weight_RK: Tensor, scale_R: Tensor) -> Tensor:
    """The nearest digits int8 [R, K] for given scales (ties to even); 0 where the scale is 0."""
    scale = scale_R.to(torch.float64)[:, None]
    ratio = torch.where(scale > 0, weight_RK.double() / scale, 0.0)
    return ratio.round().clamp(-TOP, TOP).to(torch.int8)


def snr_db(weight_RK: Tensor, digits_RK: Tensor, scale_R: Tensor) -> float | None:
    """Signal-to-noise ratio of the quantized weights in decibels; None where there is no noise."""
    weight = weight_RK.double()
    noise = (weight - digits_RK * scale_R.double()[:, None]).square().sum().item()
    return 10 * math.log10(weight.square().sum().item() / noise) if noise > 0 else None
