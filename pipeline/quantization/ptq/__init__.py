"""Post-training quantization: a trained model's matrices rounded one after another for the inputs that they get, without any training.

`rotation` first puts the model on axes that are easier to round. Then, part by part (`calibration`), each matrix is found (`rounding`) for
the second moments of the inputs that it will get behind the matrices quantized before it; with `match`, it is to answer those as it
answered the float model's inputs, so that it makes up for the errors before it (as in GPTAQ: Li et al. 2025, arXiv:2504.02692).
Shapes: R rows, K columns, N positions.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from pipeline import ops
from pipeline.models.base import Model
from pipeline.progress import Bar
from pipeline.quantization import grid
from pipeline.quantization.modules import PackedMatrix
from pipeline.quantization.ptq import calibration, rounding
from pipeline.quantization.ptq.calibration import Part
from pipeline.quantization.ptq.rotation import rotate


class Moments(NamedTuple):
    """Means over the calibration's positions of x^T x, [K, K], and of (x0 - x)^T x, where x0 is the same input in the float model."""

    own_KK: Tensor
    lost_KK: Tensor


@torch.no_grad()
def quantize(
    module: Model, batches: Sequence[Tensor], held_out: Sequence[Tensor], levels: Mapping[str, int], steps: Any
) -> tuple[dict[str, PackedMatrix], dict[str, float | None]]:
    """Packed matrices by name, and for each linear map the signal-to-noise ratio of its outputs in dB on the batches `held_out`.

    The noise is all that its output in the quantized model differs from that in the float model. `batches` are tokens [B, T] to calibrate
    on, `steps` the block `ptq`. The module is left with the weights that the packed matrices stand for. What no linear map multiplies
    (embeddings, tied outputs) takes the digits of least squared error. Raises `ValueError` for a linear map that the batches never reach.
    """
    names = {id(parameter): name for name, parameter in module.quantizable().items()}
    linears = {id(child.weight) for child in module.modules() if isinstance(child, nn.Linear)}
    packed: dict[str, PackedMatrix] = {}
    ratios: dict[str, float | None] = {}
    original = copy.deepcopy(module, {id(block): block for block in module.blocks()})
    for name, parameter in module.quantizable().items():
        if id(parameter) not in linears:
            packed[name] = _put(parameter, *grid.quantize(parameter, levels[name]), levels[name])
    used = len(batches)
    with Bar("quantize", total=len(names) - len(packed), unit="matrices") as bar:
        for part in calibration.parts(module, original, [*batches, *held_out]):
            for group in calibration.groups(part):
                moments = _moments(part, group[0], range(used))
                for local in group:
                    weight = cast("nn.Parameter", calibration.linear(part.module, local).weight)
                    name = names[id(weight)]
                    solution = rounding.solve(_target(weight.double(), moments, steps), moments.own_KK, levels[name], steps)
                    packed[name] = _put(weight, *solution, levels[name])
                    ratios[name] = _ratio(part, local, range(used, used + len(held_out)))
                    bar.advance(1)
    if packed.keys() != levels.keys():
        raise ValueError(f"module: no input reaches {sorted(levels.keys() - packed.keys())}")
    return packed, ratios


def _put(parameter: nn.Parameter, digits_RK: Tensor, scale_R: Tensor, levels: int) -> PackedMatrix:
    matrix = PackedMatrix(ops.pack(digits_RK, levels), scale_R, digits_RK.shape[1], levels)
    parameter.copy_(matrix.dense())
    return matrix


def _moments(part: Part, name: str, batches: range) -> Moments:
    columns = calibration.linear(part.module, name).in_features
    own, lost, count = torch.zeros(columns, columns, dtype=torch.float64), torch.zeros(columns, columns, dtype=torch.float64), 0
    for batch in batches:
        x_NK, x0_NK = calibration.inputs(part, name, batch)
        own += x_NK.T @ x_NK
        lost += (x0_NK - x_NK).T @ x_NK
        count += len(x_NK)
    return Moments(own / count, lost / count)


def _target(weight_RK: Tensor, moments: Moments, steps: Any) -> Tensor:
    """The weights that come nearest to the float model's outputs on the quantized model's inputs: W + W L H^-1."""
    if not steps.match:
        return weight_RK
    factor = torch.linalg.cholesky(rounding.damped(moments.own_KK, steps.damping))
    return weight_RK + torch.cholesky_solve((weight_RK @ moments.lost_KK).T, factor).T


def _ratio(part: Part, name: str, batches: range) -> float | None:
    """Signal to noise of a map's outputs in dB; None without noise or signal."""
    linear, original = calibration.linear(part.module, name), calibration.linear(part.original, name)
    signal = noise = 0.0
    for batch in batches:
        x_NK, x0_NK = calibration.inputs(part, name, batch)
        wanted_NR = x0_NK @ original.weight.T
        signal += wanted_NR.double().square().sum().item()
        noise += (wanted_NR - x_NK @ linear.weight.T).double().square().sum().item()
    return 10 * math.log10(signal / noise) if noise > 0 and signal > 0 else None


__all__ = ["quantize", "rotate"]
