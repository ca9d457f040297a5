"""From a trained classifier to whole numbers: units of what the steps write, multipliers and offsets (see `processor_network`)."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.conversion.processor_network import TOP, WORD, Means, Program, Segment, Step, Sums, Windows, half
from pipeline.conversion.weights import Matrix
from pipeline.data import features
from pipeline.errors import UserError
from pipeline.models.pentary.classifier import Classifier
from pipeline.models.pentary.layers import Reshape, TokenMean

MULTIPLIER_BITS = 12
"""The largest multiplier of a step has so many bits, if its word has room for it."""
LEVELS = 255
"""The largest raw input."""
ROOM = 1.25
"""How much larger activations may become than any of the calibration."""


class Region(NamedTuple):
    """Numbers in memory: x = (q - offset) unit. `top` is the largest |q|, `shape` how they lie, `x` their values in calibration."""

    address: int
    shape: tuple[int, ...]
    unit: float
    offset: float
    top: int
    x: Tensor
    flag: int | None = None


@torch.no_grad()
def build(module: Classifier, matrices: Mapping[str, Matrix], inputs_BF: Tensor) -> Program:
    """The program of a classifier, its units calibrated by `inputs_BF`; `UserError` for another fusion than concat, or sums too wide."""
    method = module.network.fusion.method
    if method != "concat":
        raise UserError(
            f"a processor program knows the fusion concat, not {method}: leave processor out of the formats, or set fusion: concat"
        )
    return _Builder(module, matrices).program(inputs_BF)


class _Builder:
    def __init__(self, module: Classifier, matrices: Mapping[str, Matrix]) -> None:
        self.module, self.matrices = module, matrices
        self.names = {id(child): name for name, child in module.named_modules()}
        self.end = features.width(module.features)
        self.steps: list[Step] = []

    def program(self, inputs_BF: Tensor) -> Program:
        _, parts = features.split(inputs_BF, self.module.features)
        inputs, address, encoded = self.end, 0, []
        for i, (feature, part) in enumerate(zip(self.module.features, parts, strict=True)):
            region = Region(address, feature.shape, 1 / feature.deviation, feature.mean, LEVELS, feature.normal(part))
            encoded.append(self._chain(self.module.network.encoders[i], [region])._replace(flag=inputs - len(parts) + i))
            address += feature.size
        logits = self._chain(self.module.network.head, encoded, last=True)
        return Program(inputs, self.end, self.steps, logits.unit)

    def _chain(self, network: nn.Module, regions: list[Region], last: bool = False) -> Region:
        """Steps for layers one after another; a ReLU belongs to the layer before it."""
        layers = [layer for layer in network.layers if not isinstance(layer, nn.ReLU)]  # type: ignore[union-attr]
        for i, layer in enumerate(layers):
            if isinstance(layer, nn.Flatten | Reshape):
                (region,) = regions
                x = layer(region.x)
                regions = [region._replace(shape=tuple(x.shape[1:]), x=x)]
            elif isinstance(layer, TokenMean):
                regions = [self._means(layer, *regions)]
            else:
                regions = [self._sums(layer, regions, last and i == len(layers) - 1)]
        (region,) = regions
        return region

    def _take(self, numbers: int) -> int:
        """Address of new memory."""
        self.end += numbers
        return self.end - numbers

    def _means(self, layer: TokenMean, region: Region) -> Region:
        matrix = self.matrices[f"{self.names[id(layer)]}.embedding.weight"]
        dense_VD = matrix.dense().double()
        unit = float(dense_VD.abs().max()) / TOP
        table_VD = (dense_VD / unit).round().long()
        table_VD[0] = 0  # padding adds nothing
        table, width = self._take(table_VD.numel()), table_VD.shape[1]
        target = self._take(width)
        self.steps.append(Means(self.names[id(layer)], target, region.address, region.shape[0], table, table_VD))
        return Region(target, (width,), unit, 0.0, TOP, layer(region.x))

    def _sums(self, layer: Any, regions: list[Region], last: bool) -> Region:
        name = self.names[id(layer)]
        matrix = self.matrices[f"{name}.weight"]
        digits_RK, scale_R = matrix.digits_RK, matrix.scale_RG[:, 0].double()
        windows = Windows(regions[0].shape, layer.kernel_size, layer.stride) if isinstance(layer, nn.Conv2d) else None  # type: ignore[arg-type]
        x = layer(torch.cat([region.x for region in regions], 1))
        largest = float(x.max()) * ROOM
        for bits in range(MULTIPLIER_BITS, 4, -1):
            ratios_RG = torch.stack([scale_R * region.unit for region in regions], 1)
            unit = float(ratios_RG.max()) / 2**bits if last else max(largest, 1e-6) / TOP
            shift = 0 if last else max(0, bits - math.ceil(math.log2(float(ratios_RG.max()) / unit)))
            segments = _segments(regions, windows, digits_RK, ratios_RG / unit * 2**shift, layer.bias.double() / unit * 2**shift)
            if _largest(segments, regions, digits_RK) + half(shift) <= WORD:
                target = self._take(x[0].numel())
                self.steps.append(Sums(name, target, digits_RK, segments, shift, last, windows))
                return Region(target, tuple(x.shape[1:]), unit, 0.0, TOP, x if last else x.clamp_min(0))
        raise UserError(
            f"{name} has sums that do not fit a word of 16 digits: leave processor out of the formats, or make the layer narrower"
        )


def _segments(regions: list[Region], windows: Windows | None, digits_RK: Tensor, ratio_RG: Tensor, bias_R: Tensor) -> list[Segment]:
    """Multipliers and offsets, whole numbers in float64; the bias is a last segment without inputs where those may be absent."""
    found, first = [], 0
    for region, ratio_R in zip(regions, ratio_RG.T, strict=True):
        length = digits_RK.shape[1] if windows else math.prod(region.shape)
        sum_R = digits_RK[:, first : first + length].double().sum(1)
        multiplier_R = ratio_R.round()
        raised_R = -region.offset * sum_R * multiplier_R + (bias_R if region.flag is None else 0)
        found.append(Segment(region.address, length, multiplier_R, raised_R.round(), region.flag))
        first += length
    if regions[0].flag is not None:
        found.append(Segment(0, 0, torch.zeros_like(bias_R), bias_R.round(), None))
    return found


def _largest(segments: list[Segment], regions: list[Region], digits_RK: Tensor) -> float:
    """A bound of every number that a step computes on its way."""
    total_R, first = torch.zeros(len(digits_RK), dtype=torch.float64), 0
    for segment, top in zip(segments, [*(region.top for region in regions), 0], strict=False):
        reach_R = digits_RK[:, first : first + segment.length].double().abs().sum(1) * top
        total_R += reach_R * segment.multiplier_R + segment.offset_R.abs()
        first += segment.length
    return float(total_R.max())
