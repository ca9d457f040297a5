"""Which matrix gets how many levels, for a total of bits a weight: more where measurement says that they are worth most."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import ops
from pipeline.models.base import Model
from pipeline.progress import Bar
from pipeline.quantization import grid

WIDTHS = (3, 4, 5, 7, 9, 15)
"""Numbers of levels to choose from."""

Costs = dict[str, dict[int, float]]


@torch.no_grad()
def sensitivity(module: Model, batches: Sequence[Tensor]) -> Costs:
    """For each matrix, what rounding it alone costs at each width: nats a token that the predictions on `batches` [B, T] diverge by."""
    logits = [module(tokens)[0].log_softmax(-1) for tokens in batches]
    positions, matrices = sum(tokens.numel() for tokens in batches), module.quantizable()
    costs: Costs = {name: {} for name in matrices}
    with Bar("sensitivity", total=len(matrices) * len(WIDTHS), unit="measurements") as bar:
        for name, parameter in matrices.items():
            weight_RK = parameter.clone()
            for levels in WIDTHS:
                digits_RK, scale_R = grid.quantize(weight_RK, levels)
                parameter.copy_(digits_RK * scale_R.float()[:, None])
                found = (module(tokens)[0].log_softmax(-1) for tokens in batches)
                pairs = zip(found, logits, strict=True)
                total = sum(F.kl_div(now, before, log_target=True, reduction="sum").item() for now, before in pairs)
                costs[name][levels] = total / positions
                bar.advance(1)
            parameter.copy_(weight_RK)
    return costs


def choose(costs: Costs, shapes: Mapping[str, tuple[int, int]], bits: float) -> dict[str, int]:
    """Levels for each matrix of `shapes` [R, K] within a mean of `bits` a weight, scales included, for little cost in all.

    From the fewest levels on, the matrix and the width that save most cost a bit come next, until none fits. Costs count as independent.
    Raises `ValueError` where even the fewest levels take more.
    """
    levels = dict.fromkeys(shapes, WIDTHS[0])
    left = bits * sum(rows * columns for rows, columns in shapes.values()) - sum(_bits(shapes[name], WIDTHS[0]) for name in shapes)
    if left < 0:
        raise ValueError(f"bits = {bits} is less than {WIDTHS[0]} levels take")
    while True:
        steps = [
            ((costs[name][now] - costs[name][more]) / extra, name, more, extra)
            for name, now in levels.items()
            for more in WIDTHS
            if more > now and (extra := _bits(shapes[name], more) - _bits(shapes[name], now)) <= left
        ]
        worth, name, more, extra = max(steps, default=(0.0, "", 0, 0))
        if worth <= 0:
            return levels
        levels[name], left = more, left - extra


def _bits(shape: tuple[int, int], levels: int) -> int:
    """Bits of a matrix in a file."""
    rows, columns = shape
    return 8 * (ops.bytes_in_row(rows * columns, levels) + rows)
