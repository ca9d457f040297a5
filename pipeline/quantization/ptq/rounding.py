"""One matrix rounded for its inputs: digits q and row scales s with a small sum over inputs x of ((w - s q) x)^2, that is e H e^T.

H is the second moment of the inputs, the mean of x^T x, and e = w - s q. Six steps, each of which can be left out: `search`, a scale a row
by the squared error weighted with H's diagonal; `restarts`, the best of what comes of larger and smaller ones too; `feedback`, digits
column after column, each one's error made up for by the columns to come (GPTQ: Frantar et al. 2023, arXiv:2210.17323); `order`, the columns
of the largest inputs first; `refit`, the best scale for the digits; `descent`, each digit in turn at its best, the others held (as in QuIP:
Chee et al. 2023, arXiv:2307.13304).
Rows have nothing to do with each other here, but for the range of scales that a file holds (`outputs` adds what they have): they are taken
some at a time, on two threads.
Shapes: R rows, K columns.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline.quantization import grid
from pipeline.quantization.ptq.outputs import Felt, across
from pipeline.quantization.ptq.threads import side_by_side

FACTORS = torch.linspace(0.5, 1.3, 33, dtype=torch.float64)
"""Scales that the search tries, as multiples of the one of least squared error."""
BLOCK = 64
"""Columns whose errors are passed on one at a time; what lies beyond them is brought up to date by one product a block."""
STARTS = (0.8, 0.9, 1.1, 1.2)
"""Multiples of the searched scale that rows are rounded from, too."""
ROUNDS = 3
"""Turns of refit and descent."""
SWEEPS = 2
"""Passes of a descent over all columns."""
ROWS = 1024
"""Rows taken at a time, those of other starts among them: bounds the memory."""
HEADROOM = 16
"""Steps (`grid.stored`) that refits may raise a matrix's largest scale by: an octave."""


class Inputs(NamedTuple):
    """What the inputs of a matrix are like: their moment, and what `feedback` makes of it, in the type to compute in."""

    moment_KK: Tensor
    order_K: Tensor
    """The columns as `feedback` takes them."""
    upper_KK: Tensor
    """U in that order, where U^T U is the inverse of the damped moment."""


def prepare(moment_KK: Tensor, steps: Any, dtype: torch.dtype = torch.float32) -> Inputs:
    """`Inputs` by their moment; `steps` is the block `ptq`. Factors are found in float64."""
    order_K = moment_KK.diagonal().argsort(descending=True, stable=True) if steps.order else torch.arange(len(moment_KK))
    upper_KK = damped(moment_KK[order_K][:, order_K].double(), steps.damping)
    if steps.feedback:
        upper_KK = torch.linalg.cholesky(upper_KK, out=upper_KK)
        upper_KK = torch.cholesky_inverse(upper_KK, out=upper_KK)
        upper_KK = torch.linalg.cholesky(upper_KK, upper=True, out=upper_KK)
    return Inputs(moment_KK.to(dtype), order_K, upper_KK.to(dtype))


def damped(moment_KK: Tensor, share: float) -> Tensor:
    """The moment with `share` of its mean diagonal added to the diagonal, so that it can be inverted and few inputs are not overrated."""
    mean = moment_KK.diagonal().mean().clamp_min(1e-30)
    damped_KK = moment_KK.clone()
    damped_KK.diagonal().add_(share * mean)
    return damped_KK


def solve(weight_RK: Tensor, inputs: Inputs, levels: int, steps: Any, felt: Felt | None = None) -> tuple[Tensor, Tensor]:
    """Digits int8 [R, K] and stored scales [R] of a matrix with these inputs; `steps` is the block `ptq`.

    With `felt`, how much the loss feels its outputs' errors, rows make up for each other's (`outputs.across`).
    """
    weight_RK = weight_RK.to(inputs.moment_KK.dtype)
    parts = weight_RK.split(ROWS)
    first_R = torch.cat(list(side_by_side(lambda part: start(part, inputs.moment_KK.diagonal(), levels, steps), parts)))
    limits = _limits(first_R)

    def some(weight_RK: Tensor, first_R: Tensor) -> tuple[Tensor, Tensor]:
        size = ROWS // (1 + len(STARTS))
        jobs = zip(weight_RK.split(size), first_R.split(size), strict=True)
        found = list(side_by_side(lambda job: _solve(*job, inputs, limits, levels, steps), jobs))
        digits, scales = zip(*found, strict=True)
        return torch.cat(digits), torch.cat(scales)

    digits_RK, scale_R = some(weight_RK, first_R) if felt is None else across(weight_RK, first_R, felt, some)
    return digits_RK, scale_R.to(grid.SCALE_TYPE)


def _limits(scale_R: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and the highest step that scales may get, so that a file holds them all, whatever refits make of the largest."""
    highest = grid.step_numbers(scale_R).max() + HEADROOM
    return (highest - grid.SCALE_STEPS).clamp_min(1), highest


def _held(scale_R: Tensor, limits: tuple[Tensor, Tensor]) -> Tensor:
    """The nearest scales within `limits` that a file holds."""
    return grid.scales_of(grid.step_numbers(scale_R).clamp(*limits)).to(scale_R.dtype)


def start(weight_RK: Tensor, importance_K: Tensor, levels: int, steps: Any) -> Tensor:
    """The scales [R] to begin with, of least squared error or found by `search`."""
    size = max(1, grid.CHUNK // (4 * max(1, weight_RK.shape[1] * min(levels, grid.EXACT) // 2)))
    scale_R = torch.cat([grid.best_scale(some, levels) for some in weight_RK.split(size)])
    scale_R = scale_R.to(weight_RK.dtype).clamp_min(torch.finfo(grid.SCALE_TYPE).tiny)
    return search(weight_RK, scale_R, importance_K, levels) if steps.search else scale_R


def search(weight_RK: Tensor, start_R: Tensor, importance_K: Tensor, levels: int) -> Tensor:
    """The scale [R] among multiples of `start_R`, each moved to the best one for its digits, of least weighted squared error."""
    best_R, score_R = start_R.clone(), torch.full_like(start_R, -torch.inf)
    ratio_RK = weight_RK / start_R[:, None]
    for factor in FACTORS.tolist():
        digits_RK = (ratio_RK * (1 / factor)).round_().clamp_(*grid.bounds(levels))
        wq_R, qq_R = (weight_RK * digits_RK) @ importance_K, digits_RK.square_() @ importance_K
        gain_R = torch.where(qq_R > 0, wq_R.square() / qq_R, 0.0)  # how much of the weighted sum of w^2 is no error
        better_R = (gain_R > score_R) & (wq_R > 0)
        best_R = torch.where(better_R, wq_R / qq_R, best_R)
        score_R = torch.where(better_R, gain_R, score_R)
    return best_R


def _solve(weight_RK: Tensor, first_R: Tensor, inputs: Inputs, limits: Any, levels: int, steps: Any) -> tuple[Tensor, Tensor]:
    """`solve` for some of the rows: for each, the best of what comes of a few scales to begin with, all tried at once."""
    factors, rows = first_R.new_tensor((1.0, *STARTS) if steps.restarts else (1.0,)), len(weight_RK)
    first_SR = factors[:, None] * first_R
    digits, scale, score = _attempt(weight_RK.repeat(len(factors), 1), first_SR.flatten(), inputs, limits, levels, steps)
    best_R = score.view_as(first_SR).argmax(0) * rows + torch.arange(rows)
    return digits[best_R], scale[best_R]


def _attempt(weight_RK: Tensor, first_R: Tensor, inputs: Inputs, limits: Any, levels: int, steps: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Digits, scales and how much of w H w^T is no error, from these scales on."""
    scale_R = _held(first_R, limits)
    ratio_KR = weight_RK.T / scale_R
    digits_KR = feedback(ratio_KR, inputs, levels) if steps.feedback else nearest(ratio_KR, levels)
    wanted_KR, had_KR = inputs.moment_KK @ ratio_KR, inputs.moment_KK @ digits_KR
    for turn in range(ROUNDS + 1 if steps.descent or steps.refit else 0):
        if steps.refit:
            better_R = _held(scale_R * refit(digits_KR, wanted_KR, had_KR), limits)
            wanted_KR *= scale_R / better_R
            scale_R = better_R
        if steps.descent and turn < ROUNDS:
            digits_KR, had_KR = descend(digits_KR, wanted_KR, had_KR, inputs.moment_KK, levels)
    score_R = (digits_KR * (2 * wanted_KR - had_KR)).sum(0) * scale_R.square()
    return _result(digits_KR), scale_R, score_R


def _result(digits_KR: Tensor) -> Tensor:
    return digits_KR.T.to(torch.int8).contiguous()


def nearest(ratio: Tensor, levels: int) -> Tensor:
    """The nearest digits of weights as multiples of their scale."""
    return ratio.round().clamp_(*grid.bounds(levels))


def feedback(ratio_KR: Tensor, inputs: Inputs, levels: int) -> Tensor:
    """Digits [K, R] of weights as multiples of their row's scale, column by column.

    The error of each is taken off the later columns as their inputs' correlation with it allows.
    """
    columns, upper = len(ratio_KR), inputs.upper_KK
    rest_KR = ratio_KR[inputs.order_K]
    digits_KR = torch.empty_like(rest_KR)
    for first in range(0, columns, BLOCK):
        end = min(columns, first + BLOCK)
        errors = torch.empty_like(rest_KR[first:end])
        for k in range(first, end):
            digits_KR[k] = nearest(rest_KR[k], levels)
            torch.sub(rest_KR[k], digits_KR[k], out=errors[k - first]).div_(upper[k, k])
            rest_KR[k + 1 : end].addr_(upper[k, k + 1 : end], errors[k - first], alpha=-1)
        rest_KR[end:].addmm_(upper[first:end, end:].T, errors, alpha=-1)
    result = torch.empty_like(digits_KR)
    result[inputs.order_K] = digits_KR
    return result


def refit(digits_KR: Tensor, wanted_KR: Tensor, had_KR: Tensor) -> Tensor:
    """The factor [R] to multiply scales by for the least error, q H w / q H q with w in scales; 1 where that is no positive number."""
    factor_R = (digits_KR * wanted_KR).sum(0) / (digits_KR * had_KR).sum(0)
    return torch.where(factor_R.isfinite() & (factor_R > 0), factor_R, 1.0)


def descend(digits_KR: Tensor, wanted_KR: Tensor, had_KR: Tensor, moment_KK: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Digits [K, R] after each was set, in `SWEEPS` passes, to the best one beside the others, and H q of them.

    `wanted_KR` is H w with w in scales, `had_KR` H q for the digits as they are.
    """
    columns, size_K = len(moment_KK), moment_KK.diagonal().clamp_min(1e-30)
    digits_KR, slope_KR = digits_KR.clone(), wanted_KR - had_KR
    for _ in range(SWEEPS):
        for first in range(0, columns, BLOCK):
            part = slice(first, min(columns, first + BLOCK))
            moment, slope, before = moment_KK[part, part], slope_KR[part].clone(), digits_KR[part].clone()
            for i, k in enumerate(range(part.start, part.stop)):
                new_R = nearest(torch.add(digits_KR[k], slope[i] / size_K[k]), levels)
                slope.addr_(moment[:, i], new_R - digits_KR[k], alpha=-1)
                digits_KR[k] = new_R
            slope_KR.addmm_(moment_KK[:, part], digits_KR[part] - before, alpha=-1)
    return digits_KR, wanted_KR - slope_KR
