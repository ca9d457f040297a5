"""Few levels: a weight becomes a digit q (-2..2 for five levels) times its row's scale s. The s of least squared error is found exactly.

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
EXACT = 15
"""Up to so many levels the best scale is found exactly."""
CHUNK = 1 << 21
"""Breakpoints that are searched at a time: bounds the memory."""
ROWS = 1024
"""Rows whose errors are summed at a time, for the same reason."""
SCALE_TYPE = torch.bfloat16
"""What scales are in memory: it holds all that files can (`stored`)."""
SCALE_STEPS = 254
"""A file holds a scale in 8 bits: how many steps, 16 an octave, it lies below the largest of its matrix, at most so many."""
_SHIFT, _LARGEST = 19, 0x7F7FFFFF >> 19


def bounds(levels: int) -> tuple[int, int]:
    """Lowest and highest digit: -2 and 2 for 5 levels, -2 and 1 for 4."""
    return -(levels // 2), (levels - 1) // 2


def quantize(weight_RK: Tensor, levels: int = 5) -> tuple[Tensor, Tensor]:
    """Digits int8 [R, K] and scales bfloat16 [R] of least squared error; weights must be finite, rows of zeros get scale 0."""
    rows = max(1, CHUNK // max(1, weight_RK.shape[1] * min(levels, EXACT) // 2))
    chunks = weight_RK.split(rows)
    scale_R = stored(torch.cat([best_scale(chunk, levels) for chunk in chunks])).to(SCALE_TYPE)
    return torch.cat([nearest(*some, levels) for some in zip(chunks, scale_R.split(rows), strict=True)]), scale_R


def stored(scale: Tensor) -> Tensor:
    """The nearest scales of a matrix (finite, not negative) that a file can hold, in float32: digits must be chosen for these.

    Steps are numbers of four binary places, a sixteenth to a thirty-second apart: with the digits chosen anew, that costs less than 0.01 of
    the 11 dB that five levels give. Scales 16 octaves below the largest become the lowest step, but 0 stays 0.
    """
    steps = step_numbers(scale)
    if steps.numel() == 0:
        return scales_of(steps)
    lowest = (steps.max() - SCALE_STEPS).clamp_min(1)
    return scales_of(torch.where(scale > 0, torch.maximum(steps, lowest), 0))


def step_numbers(scale: Tensor) -> Tensor:
    """Scales counted in steps from 0 on, int32: the upper bits of a float32, rounded, which order as the numbers do."""
    bits = scale.float().view(torch.int32)
    return ((bits + (1 << _SHIFT - 1)) >> _SHIFT).clamp_max(_LARGEST)


def scales_of(steps: Tensor) -> Tensor:
    """float32 scales by their numbers."""
    return (steps.to(torch.int32) << _SHIFT).view(torch.float32)


def best_scale(weight_RK: Tensor, levels: int = 5) -> Tensor:
    """The minimiser s [R] (float64) of sum_k (w - s q)^2 over s and digits q, exact up to 15 levels; 0 for a row of zeros."""
    low, high = bounds(levels)
    if weight_RK.shape[1] == 0:
        return torch.zeros(weight_RK.shape[0], dtype=torch.float64)
    size_RK = weight_RK.double().abs()
    if levels > EXACT:
        return _searched_scale(weight_RK.double(), levels)
    digit = torch.arange(1, -low + 1, dtype=torch.float64)
    exists = (weight_RK[..., None] < 0) | (digit <= high)
    breakpoints = (size_RK[..., None] / (digit - 0.5)).flatten(1)
    order = breakpoints.argsort(dim=1, descending=True, stable=True)
    wq = (size_RK[..., None] * exists).flatten(1).gather(1, order).cumsum(1)
    qq = ((2 * digit - 1) * exists).flatten(1).gather(1, order).cumsum(1)
    best = (wq.square() / qq.clamp_min(1)).argmax(1, keepdim=True)
    return (wq.gather(1, best) / qq.gather(1, best).clamp_min(1)).squeeze(1)


def _searched_scale(weight_RK: Tensor, levels: int) -> Tensor:
    """So many levels that clipping hardly pays: the best of a few scales near the one that clips nothing."""
    scales_RS = weight_RK.abs().amax(1, keepdim=True) / bounds(levels)[1] * torch.linspace(0.6, 1.0, 17, dtype=torch.float64)
    errors = [(weight_RK - nearest(weight_RK, s_R, levels) * s_R[:, None]).square().sum(1) for s_R in scales_RS.T]
    return scales_RS.gather(1, torch.stack(errors, 1).argmin(1, keepdim=True)).squeeze(1)


def nearest(weight_RK: Tensor, scale_R: Tensor, levels: int = 5) -> Tensor:
    """The nearest digits int8 [R, K] for given scales (ties to even); 0 where the scale is 0."""
    scale = scale_R.to(torch.float64)[:, None]
    ratio = torch.where(scale > 0, weight_RK.double() / scale, 0.0)
    return ratio.round().clamp(*bounds(levels)).to(torch.int8)


def snr_db(weight_RK: Tensor, digits_RK: Tensor, scale_R: Tensor) -> float | None:
    """Signal-to-noise ratio of the quantized weights in decibels; None where there is no noise or no signal."""
    signal = noise = 0.0
    for weight, digits, scale in zip(*(part.split(ROWS) for part in (weight_RK, digits_RK, scale_R)), strict=True):
        signal += weight.double().square().sum().item()
        noise += (weight - digits * scale.double()[:, None]).square_().sum().item()
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None
