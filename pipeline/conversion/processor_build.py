"""From a trained classifier to whole numbers: units of what the steps write, multipliers and offsets (see `processor_network`)."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.conversion.processor_network import TOP, WORD, Ending, Means, Program, Segment, Step, Sums, Windows, half
from pipeline.conversion.weights import Matrix
from pipeline.data import features
from pipeline.errors import UserError
from pipeline.models.pentary.classifier import Classifier
from pipeline.models.pentary.layers import Reshape, TokenMean
from pipeline.schema.formats import PROCESSOR_FUSIONS

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
    """The program of a classifier, its units calibrated by `inputs_BF`; `UserError` for what it cannot hold."""
    method = module.network.fusion.method
    if method not in PROCESSOR_FUSIONS:
        known = " and ".join(PROCESSOR_FUSIONS)
        raise UserError(f"a processor program knows the fusions {known}, not {method}: set one of them, or leave processor out of formats")
    return _Builder(module, matrices).program(inputs_BF)


class Layer(NamedTuple):
    """What a step computes of its regions: digits side by side, a scale a row and region, biases of each region, and biases of none.

    `x` is what comes out in calibration, `largest` what must still fit an activation.
    """

    name: str
    digits_RK: Tensor
    scale_RG: Tensor
    bias_RG: Tensor
    bias_R: Tensor
    x: Tensor
    largest: float
    windows: Windows | None = None


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
        if self.module.network.fusion.method == "add":
            encoded = [self._step(self._projections(encoded), encoded, "signed")]
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
                regions = [self._step(self._layer(layer, regions), regions, "logits" if last and i == len(layers) - 1 else "relu")]
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

    def _digits(self, name: str) -> tuple[Tensor, Tensor]:
        """Digits [R, K] and scales [R] of a matrix; `UserError` where they are no digits of the processor."""
        matrix = self.matrices[f"{name}.weight"]
        if matrix.levels > 5 or matrix.scale_RG.shape[1] > 1:
            raise UserError(
                f"{name} has {matrix.levels} levels and {matrix.scale_RG.shape[1]} scales a row, a processor program up to 5 and one: "
                "quantize it so, or leave processor out of the formats"
            )
        return matrix.digits_RK, matrix.scale_RG[:, 0].double()

    def _layer(self, layer: Any, regions: list[Region]) -> Layer:
        """One matrix over all regions; its bias is there whichever of them are."""
        name = self.names[id(layer)]
        digits_RK, scale_R = self._digits(name)
        windows = Windows(regions[0].shape, layer.kernel_size, layer.stride) if isinstance(layer, nn.Conv2d) else None  # type: ignore[arg-type]
        x = layer(torch.cat([region.x for region in regions], 1))
        scale_RG = scale_R[:, None].expand(-1, len(regions))
        return Layer(name, digits_RK, scale_RG, torch.zeros_like(scale_RG), layer.bias.double(), x, float(x.max()), windows)

    def _projections(self, regions: list[Region]) -> Layer:
        """The fusion `add`: a matrix and a bias a region, of which any subset may be there."""
        layers = self.module.network.fusion.projections
        digits, scales = zip(*(self._digits(self.names[id(layer)]) for layer in layers), strict=True)
        parts = torch.stack([layer(region.x) for layer, region in zip(layers, regions, strict=True)])
        largest = max(float((sign * parts).clamp_min(0).sum(0).max()) for sign in (1, -1))
        bias_RG = torch.stack([layer.bias for layer in layers], 1).double()  # type: ignore[misc]
        name = f"{self.names[id(self.module.network.fusion)]}.projections"
        return Layer(name, torch.cat(digits, 1), torch.stack(scales, 1), bias_RG, torch.zeros(len(bias_RG)), parts.sum(0), largest)

    def _step(self, layer: Layer, regions: list[Region], ending: Ending) -> Region:
        """Write a step with the largest multipliers for which every sum fits a word."""
        ratio_RG = layer.scale_RG * torch.tensor([region.unit for region in regions], dtype=torch.float64)
        for bits in range(MULTIPLIER_BITS, 4, -1):
            unit = float(ratio_RG.max()) / 2**bits if ending == "logits" else max(layer.largest * ROOM, 1e-6) / TOP
            shift = 0 if ending == "logits" else max(0, bits - math.ceil(math.log2(float(ratio_RG.max()) / unit)))
            segments = _segments(layer, regions, ratio_RG, unit / 2**shift)
            raised = half(shift) + (TOP * 2**shift if ending == "signed" else 0)
            if _largest(segments, regions, layer.digits_RK) + raised <= WORD:
                target = self._take(layer.x[0].numel())
                self.steps.append(Sums(layer.name, target, layer.digits_RK, segments, shift, ending, layer.windows))
                x = layer.x.clamp_min(0) if ending == "relu" else layer.x
                return Region(target, tuple(x.shape[1:]), unit, 0.0, TOP, x)
        raise UserError(
            f"{layer.name} has sums that do not fit a word of 16 digits: leave processor out of the formats, or make the layer narrower"
        )


def _segments(layer: Layer, regions: list[Region], ratio_RG: Tensor, unit: float) -> list[Segment]:
    """Multipliers and offsets, whole numbers in float64: units of `unit`. A shared bias is a last segment where regions may be absent."""
    found, first = [], 0
    shared_R, may_be_absent = layer.bias_R / unit, regions[0].flag is not None
    for region, ratio_R, bias_R in zip(regions, ratio_RG.T, layer.bias_RG.T, strict=True):
        length = layer.digits_RK.shape[1] if layer.windows else math.prod(region.shape)
        sum_R = layer.digits_RK[:, first : first + length].double().sum(1)
        multiplier_R = (ratio_R / unit).round()
        raised_R = -region.offset * sum_R * multiplier_R + bias_R / unit + (0 if may_be_absent else shared_R)
        found.append(Segment(region.address, length, multiplier_R, raised_R.round(), region.flag))
        first += length
    if may_be_absent and bool(shared_R.any()):
        found.append(Segment(0, 0, torch.zeros_like(shared_R), shared_R.round(), None))
    return found


def _largest(segments: list[Segment], regions: list[Region], digits_RK: Tensor) -> float:
    """A bound of every number that a step computes on its way."""
    total_R, first = torch.zeros(len(digits_RK), dtype=torch.float64), 0
    for segment, top in zip(segments, [*(region.top for region in regions), 0], strict=False):
        reach_R = digits_RK[:, first : first + segment.length].double().abs().sum(1) * top
        total_R += reach_R * segment.multiplier_R + segment.offset_R.abs()
        first += segment.length
    return float(total_R.max())
