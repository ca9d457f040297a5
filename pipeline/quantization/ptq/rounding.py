"""One matrix rounded for its inputs: digits q and row scales s with a small sum over inputs x of ((w - s q) x)^2, that is e H e^T.

H is the second moment of the inputs, the mean of x^T x, and e = w - s q. Five steps, each of which can be left out: `search`, a scale a row
by the squared error weighted with H's diagonal; `feedback`, digits column after column, each one's error made up for by the columns to
come (GPTQ: Frantar et al. 2023, arXiv:2210.17323); `order`, the columns of the largest inputs first; `refit`, the best scale for the
digits; `descent`, each digit in turn at its best, the others held (as in QuIP: Chee et al. 2023, arXiv:2307.13304).
Shapes: R rows, K columns; everything in float64.
"""

from typing import Any

import torch
from torch import Tensor

from pipeline.quantization import grid

FACTORS = torch.linspace(0.5, 1.3, 33, dtype=torch.float64)
"""Scales that the search tries, as multiples of the one of least squared error."""
BLOCK = 64
"""Columns whose errors are passed on one at a time; what lies beyond them is brought up to date by one product a block."""
ROUNDS = 3
"""Turns of refit and descent."""
SWEEPS = 2
"""Passes of a descent over all columns."""


def solve(weight_RK: Tensor, moment_KK: Tensor, levels: int, steps: Any) -> tuple[Tensor, Tensor]:
    """Digits int8 [R, K] and stored scales [R] of a matrix whose inputs have this second moment; `steps` is the block `ptq`."""
    scale_R = grid.best_scale(weight_RK, levels).clamp_min(torch.finfo(grid.SCALE_TYPE).tiny)
    if steps.search:
        scale_R = search(weight_RK, scale_R, moment_KK.diagonal(), levels)
    scale_R = stored(scale_R)
    if steps.feedback:
        digits_RK = feedback(weight_RK, scale_R, damped(moment_KK, steps.damping), levels, steps.order)
    else:
        digits_RK = grid.nearest(weight_RK, scale_R, levels).double()
    for _ in range(ROUNDS if steps.descent or steps.refit else 0):
        if steps.refit:
            scale_R = stored(refit(weight_RK, digits_RK, scale_R, moment_KK))
        if steps.descent:
            digits_RK = descend(weight_RK, digits_RK, scale_R, moment_KK, levels)
    if steps.refit:
        scale_R = stored(refit(weight_RK, digits_RK, scale_R, moment_KK))
    return digits_RK.to(torch.int8), scale_R.to(grid.SCALE_TYPE)


def stored(scale_R: Tensor) -> Tensor:
    """Scales as they are stored, in float64."""
    return grid.stored(scale_R).double()


def damped(moment_KK: Tensor, share: float) -> Tensor:
    """The moment with `share` of its mean diagonal added to the diagonal, so that it can be inverted and few inputs are not overrated."""
    mean = moment_KK.diagonal().mean().clamp_min(1e-30)
    return moment_KK + share * mean * torch.eye(len(moment_KK), dtype=moment_KK.dtype)


def search(weight_RK: Tensor, start_R: Tensor, importance_K: Tensor, levels: int) -> Tensor:
    """The scale [R] among multiples of `start_R`, each moved to the best one for its digits, of least weighted squared error."""
    best_R, score_R = start_R.clone(), torch.full_like(start_R, -torch.inf)
    for factor in FACTORS:
        digits_RK = grid.nearest(weight_RK, start_R * factor, levels).double()
        wq_R, qq_R = (weight_RK * digits_RK) @ importance_K, digits_RK.square() @ importance_K
        gain_R = torch.where(qq_R > 0, wq_R.square() / qq_R, 0.0)  # how much of the weighted sum of w^2 is no error
        better_R = (gain_R > score_R) & (wq_R > 0)
        best_R = torch.where(better_R, wq_R / qq_R, best_R)
        score_R = torch.where(better_R, gain_R, score_R)
    return best_R


def feedback(weight_RK: Tensor, scale_R: Tensor, moment_KK: Tensor, levels: int, by_size: bool) -> Tensor:
    """Digits [R, K], column by column: the error of each is taken off the later columns as their inputs' correlation with it allows."""
    columns = len(moment_KK)
    order = moment_KK.diagonal().argsort(descending=True, stable=True) if by_size else torch.arange(columns)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moment_KK[order][:, order]))
    upper = torch.linalg.cholesky(inverse, upper=True)
    rest_KR = weight_RK.T[order]
    digits_KR = torch.empty_like(rest_KR)
    for start in range(0, columns, BLOCK):
        end = min(columns, start + BLOCK)
        errors = torch.empty_like(rest_KR[start:end])
        for k in range(start, end):
            digits_KR[k] = _nearest(rest_KR[k], scale_R, levels)
            errors[k - start] = (rest_KR[k] - digits_KR[k] * scale_R) / upper[k, k]
            rest_KR[k + 1 : end] -= upper[k, k + 1 : end, None] * errors[k - start]
        rest_KR[end:] -= upper[start:end, end:].T @ errors
    result = torch.empty_like(digits_KR)
    result[order] = digits_KR
    return result.T.contiguous()


def refit(weight_RK: Tensor, digits_RK: Tensor, scale_R: Tensor, moment_KK: Tensor) -> Tensor:
    """The scale [R] of least error for these digits, w H q^T / q H q^T; the given one where that is no positive number."""
    product_RK = digits_RK @ moment_KK
    best_R = (product_RK * weight_RK).sum(1) / (product_RK * digits_RK).sum(1)
    return torch.where(best_R.isfinite() & (best_R > 0), best_R, scale_R)


def descend(weight_RK: Tensor, digits_RK: Tensor, scale_R: Tensor, moment_KK: Tensor, levels: int) -> Tensor:
    """Digits [R, K] after each was set, in `SWEEPS` passes, to the best one beside the others."""
    columns, size_K = len(moment_KK), moment_KK.diagonal().clamp_min(1e-30)
    digits_KR = digits_RK.T.clone()
    slope_KR = moment_KK @ (weight_RK.T - digits_KR * scale_R)
    for _ in range(SWEEPS):
        for start in range(0, columns, BLOCK):
            part = slice(start, min(columns, start + BLOCK))
            moment, slope, before = moment_KK[part, part], slope_KR[part].clone(), digits_KR[part].clone()
            for i, k in enumerate(range(part.start, part.stop)):
                new_R = _nearest(digits_KR[k] * scale_R + slope[i] / size_K[k], scale_R, levels)
                slope -= moment[:, i, None] * ((new_R - digits_KR[k]) * scale_R)
                digits_KR[k] = new_R
            slope_KR -= moment_KK[:, part] @ ((digits_KR[part] - before) * scale_R)
    return digits_KR.T.contiguous()


def _nearest(values_R: Tensor, scale_R: Tensor, levels: int) -> Tensor:
    """The nearest digits, one a row."""
    return grid.nearest(values_R[:, None], scale_R, levels)[:, 0].double()
