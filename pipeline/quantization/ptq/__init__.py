"""Post-training quantization: a trained model's matrices rounded one after another for the inputs that they get, without any training.

`rotation` first puts the model on axes that are easier to round. Then, part by part (`calibration`), each matrix is found (`rounding`) for
the second moments of the inputs that it will get behind the matrices quantized before it; with `match`, it is to answer those as it
answered the float model's inputs, so that it makes up for the errors before it (as in GPTAQ: Li et al. 2025, arXiv:2504.02692); with
`residual`, what is added to a stream makes up for the stream's own error too; with `outputs`, a matrix's rows make up for each other's
errors. Shapes: R rows, K columns, N positions.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline import ops
from pipeline.models.base import Model
from pipeline.progress import Bar
from pipeline.quantization import grid
from pipeline.quantization.modules import PackedMatrix
from pipeline.quantization.ptq import calibration, outputs, rounding
from pipeline.quantization.ptq.calibration import Group, Inputs, Part
from pipeline.quantization.ptq.rotation import rotate
from pipeline.quantization.ptq.threads import give_back_memory, little_memory, side_by_side

GRAM = 512
"""Columns of a second moment found at a time."""


class Found(NamedTuple):
    """What came of a model's matrices, by their names."""

    packed: dict[str, PackedMatrix]
    weight_snr: dict[str, float | None]
    """In dB; None without noise or signal."""
    output_snr: dict[str, float | None]
    """In dB; None without noise or signal."""


class Moments(NamedTuple):
    """Means over the calibration's positions of x^T x, and of (x0 - x)^T x, where x0 is the same input in the float model, [K, K] each.

    `drift_RK` is the mean of (r0 - r)^T x, where the maps' outputs are added to a stream r; None where they are not.
    """

    own_KK: Tensor
    lost_KK: Tensor
    drift_RK: Tensor | None


@little_memory()
@torch.no_grad()
def quantize(module: Model, batches: Sequence[Tensor], held_out: Sequence[Tensor], levels: Mapping[str, int], steps: Any) -> Found:
    """Packed matrices by name, and signal-to-noise ratios: of their weights, and of each linear map's outputs on the batches `held_out`.

    The noise of an output is all that it differs by in the quantized model from that in the float model. `batches` are tokens [B, T] to
    calibrate on, `steps` the block `ptq`. The module is left with the weights that the packed matrices stand for. What no linear map
    multiplies (embeddings, tied outputs, convolutions) takes the digits of least squared error. Raises `ValueError` for a linear map that
    the batches never reach.
    """
    names = {id(parameter): name for name, parameter in module.quantizable().items()}
    found = Found({}, {}, {})
    maps = {id(child.weight) for child in calibration.linears(module).values()}
    gradients = outputs.gradients(module, batches) if steps.outputs else {}

    def begin() -> None:
        for name, parameter in module.quantizable().items():
            if id(parameter) not in maps:
                _put(found, name, parameter, *grid.quantize(parameter.flatten(1), levels[name]), levels[name])

    with Bar("quantize", total=len(maps), unit="matrices") as bar:
        for part in calibration.parts(module, [*batches, *held_out], begin):
            here = {
                local: names[id(child.weight)] for local, child in calibration.linears(part.module).items() if id(child.weight) in names
            }
            groups = calibration.groups(part)
            for group in groups:
                problem = _problem(part, group, len(batches), group is groups[-1], steps)
                for local in group.names:
                    weight, name = calibration.linear(part.module, local).weight, here[local]
                    felt = outputs.prepare(gradients.pop(weight), steps.damping) if weight in gradients else None
                    solution = rounding.solve(problem.target(weight), problem.inputs, levels[name], steps, felt)
                    _put(found, name, weight, *solution, levels[name])
                    bar.advance(1)
            ratios = _move_on(part, groups, len(batches))
            found.output_snr.update({here[local]: ratio for local, ratio in ratios.items()})
    if found.packed.keys() != levels.keys():
        raise ValueError(f"module: no input reaches {sorted(levels.keys() - found.packed.keys())}")
    return found


def _put(found: Found, name: str, parameter: Tensor, digits_RK: Tensor, scale_R: Tensor, levels: int) -> None:
    """Note a matrix's digits, and give its parameter the weights that they stand for."""
    matrix = PackedMatrix(ops.pack(digits_RK, levels), scale_R, digits_RK.shape[1], levels)
    found.packed[name], found.weight_snr[name] = matrix, grid.snr_db(parameter.flatten(1), digits_RK, scale_R)
    parameter.copy_(matrix.dense().view_as(parameter))
    give_back_memory()


class _Problem(NamedTuple):
    """What the matrices of a group are to be rounded for."""

    inputs: rounding.Inputs
    match_KK: Tensor | None
    """L H^-1: W + W L H^-1 comes nearest to the float model's outputs on the quantized model's inputs."""
    drift_RK: Tensor | None
    """What to add to that so that the stream comes nearest too."""

    def target(self, weight_RK: Tensor) -> Tensor:
        """The weights to round."""
        if self.match_KK is not None:
            weight_RK = torch.addmm(weight_RK, weight_RK, self.match_KK)
        return weight_RK if self.drift_RK is None else weight_RK + self.drift_RK


def _problem(part: Part, group: Group, used: int, last: bool, steps: Any) -> _Problem:
    """`last`: whether the float model's run for this group may go to the end of the part, which then moves it on."""
    moments = _moments(part, group, used, last, steps)
    inputs = rounding.prepare(moments.own_KK, steps)
    if not steps.match:
        return _Problem(inputs, None, None)
    factor_KK = rounding.damped(moments.own_KK.double(), steps.damping)
    factor_KK = torch.linalg.cholesky(factor_KK, out=factor_KK)

    def behind(product: Tensor) -> Tensor:
        return torch.cholesky_solve(product.double().T, factor_KK).T.float()

    return _Problem(inputs, behind(moments.lost_KK), None if moments.drift_RK is None else behind(moments.drift_RK))


def _moments(part: Part, group: Group, used: int, last: bool, steps: Any) -> Moments:
    streams, first = last and steps.residual and part.adds_to_stream, group.names[:1]
    with calibration.watched(part.module, first) as run, calibration.watched(part.original, first) as run_original:

        def of_batch(batch: int) -> list[Tensor]:
            now, before = part.arguments[batch], part.original_arguments[batch]
            x_NK = run(now, group.calls)[0][first[0]]
            inputs, returned = run_original(before, 0 if last and part.leads_on else group.calls)
            if returned is not None:
                part.original_arguments[batch] = calibration.held(returned, *before[1:])
            x0_NK = inputs[first[0]]
            drift = [(before[0].float() - now[0].float()).flatten(0, -2).T @ x_NK] if streams else []
            return [product.div_(len(x_NK)) for product in (_gram(x_NK), (x0_NK - x_NK).T @ x_NK, *drift)]

        sums: list[Tensor] = []
        for products in side_by_side(of_batch, range(used)):
            sums = [total.add_(product) for total, product in zip(sums, products, strict=True)] if sums else products
    own_KK, lost_KK, *drift = [total.div_(used) for total in sums]
    return Moments(own_KK, lost_KK, drift[0] if drift else None)


def _gram(x_NK: Tensor) -> Tensor:
    """x^T x by blocks, of which those below the diagonal are those above it."""
    columns = x_NK.shape[1]
    gram_KK = x_NK.new_empty(columns, columns)
    for start in range(0, columns, GRAM):
        end = start + GRAM
        gram_KK[start:end, start:] = x_NK[:, start:end].T @ x_NK[:, start:]
        gram_KK[end:, start:end] = gram_KK[start:end, end:].T
    return gram_KK


def _move_on(part: Part, groups: Sequence[Group], used: int) -> dict[str, float | None]:
    """Give the part's arguments to the next one; signal to noise of the maps' outputs in dB on all batches but the `used`."""
    names, powers = [group.names[0] for group in groups], {name: [0.0, 0.0] for group in groups for name in group.names}
    calls = 0 if part.leads_on else sum(group.calls for group in groups)
    if not (part.leads_on or groups):
        return {}
    with calibration.watched(part.module, names) as run, calibration.watched(part.original, names) as run_original:

        def of_batch(batch: int) -> dict[str, tuple[float, float]]:
            measured = batch >= used
            sides = [(run, part.arguments), (run_original, part.original_arguments)][: 2 if measured or not groups else 1]
            inputs = []
            for call, arguments in sides:
                found, returned = call(arguments[batch], calls)
                if part.leads_on:
                    arguments[batch] = calibration.held(returned, *arguments[batch][1:])
                inputs.append(found)
            return _powers(part, groups, *inputs) if measured else {}

        for found in side_by_side(of_batch, range(0 if part.leads_on else used, len(part.arguments))):
            for name, (signal, noise) in found.items():
                powers[name] = [powers[name][0] + signal, powers[name][1] + noise]
    return {name: 10 * math.log10(signal / noise) if noise > 0 and signal > 0 else None for name, (signal, noise) in powers.items()}


def _powers(part: Part, groups: Sequence[Group], inputs: Inputs, original: Inputs) -> dict[str, tuple[float, float]]:
    """Signal and noise of each map's outputs, summed."""
    found = {}
    for group in groups:
        x_NK, x0_NK = inputs[group.names[0]], original[group.names[0]]
        for name in group.names:
            signal = noise = 0.0
            weights = (calibration.linear(module, name).weight.split(rounding.ROWS) for module in (part.module, part.original))
            for some, some0 in zip(*weights, strict=True):
                wanted = x0_NK @ some0.T
                signal += wanted.square().sum(dtype=torch.float64).item()
                noise += (wanted - x_NK @ some.T).square().sum(dtype=torch.float64).item()
            found[name] = signal, noise
    return found


__all__ = ["quantize", "rotate"]
