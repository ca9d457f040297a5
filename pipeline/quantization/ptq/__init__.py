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
from pipeline.quantization.ptq.calibration import Group, Part
from pipeline.quantization.ptq.rotation import rotate


class Found(NamedTuple):
    """What came of a model's matrices, by their names."""

    packed: dict[str, PackedMatrix]
    weight_snr: dict[str, float | None]
    """In dB; None without noise or signal."""
    output_snr: dict[str, float | None]
    """In dB; None without noise or signal."""


class Moments(NamedTuple):
    """Means over the calibration's positions of x^T x, [K, K], and of (x0 - x)^T x, where x0 is the same input in the float model."""

    own_KK: Tensor
    lost_KK: Tensor


@torch.no_grad()
def quantize(module: Model, batches: Sequence[Tensor], held_out: Sequence[Tensor], levels: Mapping[str, int], steps: Any) -> Found:
    """Packed matrices by name, and signal-to-noise ratios: of their weights, and of each linear map's outputs on the batches `held_out`.

    The noise of an output is all that it differs by in the quantized model from that in the float model. `batches` are tokens [B, T] to
    calibrate on, `steps` the block `ptq`. The module is left with the weights that the packed matrices stand for. What no linear map
    multiplies (embeddings, tied outputs) takes the digits of least squared error. Raises `ValueError` for a linear map that the batches
    never reach.
    """
    names = {id(parameter): name for name, parameter in module.quantizable().items()}
    linears = {id(child.weight) for child in module.modules() if isinstance(child, nn.Linear)}
    found = Found({}, {}, {})
    original = copy.deepcopy(module, {id(block): block for block in module.blocks()})
    for name, parameter in module.quantizable().items():
        if id(parameter) not in linears:
            _put(found, name, parameter, *grid.quantize(parameter, levels[name]), levels[name])
    used = len(batches)
    with Bar("quantize", total=len(names) - len(found.packed), unit="matrices") as bar:
        for part in calibration.parts(module, original, [*batches, *held_out]):
            for group in calibration.groups(part):
                moments = _moments(part, group, range(used))
                weights = {local: cast("nn.Parameter", calibration.linear(part.module, local).weight) for local in group.names}
                for weight in weights.values():
                    name = names[id(weight)]
                    solution = rounding.solve(_target(weight.double(), moments, steps), moments.own_KK, levels[name], steps)
                    _put(found, name, weight, *solution, levels[name])
                    bar.advance(1)
                ratios = _ratios(part, group, range(used, used + len(held_out)))
                found.output_snr.update({names[id(weights[local])]: ratio for local, ratio in ratios.items()})
    if found.packed.keys() != levels.keys():
        raise ValueError(f"module: no input reaches {sorted(levels.keys() - found.packed.keys())}")
    return found


def _put(found: Found, name: str, parameter: nn.Parameter, digits_RK: Tensor, scale_R: Tensor, levels: int) -> None:
    """Note a matrix's digits, and give its parameter the weights that they stand for."""
    matrix = PackedMatrix(ops.pack(digits_RK, levels), scale_R, digits_RK.shape[1], levels)
    found.packed[name], found.weight_snr[name] = matrix, grid.snr_db(parameter, digits_RK, scale_R)
    parameter.copy_(matrix.dense())


def _moments(part: Part, group: Group, batches: range) -> Moments:
    columns = calibration.linear(part.module, group.names[0]).in_features
    own, lost, count = torch.zeros(columns, columns, dtype=torch.float64), torch.zeros(columns, columns, dtype=torch.float64), 0
    for batch in batches:
        x_NK, x0_NK = calibration.inputs(part, group, batch)
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


def _ratios(part: Part, group: Group, batches: range) -> dict[str, float | None]:
    """Signal to noise of the maps' outputs in dB; None without noise or signal."""
    signal, noise = dict.fromkeys(group.names, 0.0), dict.fromkeys(group.names, 0.0)
    for batch in batches:
        x_NK, x0_NK = calibration.inputs(part, group, batch)
        for name in group.names:
            wanted_NR = x0_NK @ calibration.linear(part.original, name).weight.T
            signal[name] += wanted_NR.double().square().sum().item()
            noise[name] += (wanted_NR - x_NK @ calibration.linear(part.module, name).weight.T).double().square().sum().item()
    return {name: 10 * math.log10(signal[name] / noise[name]) if noise[name] > 0 and signal[name] > 0 else None for name in group.names}


__all__ = ["quantize", "rotate"]
