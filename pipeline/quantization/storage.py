"""The quantized model directory: a float one whose quantized matrices lie in one tensor, `quantized`, uint8.

It is the two zlib streams of `stream`. The first describes each matrix [R, K] by its name, so that the file can be read without knowing the
model: its shape, its largest scale, and its groups and own number of levels if it has them. The second has the matrices' scales, [R], or
[R, G] for groups of K / G columns, a byte each: how many steps (`grid.stored`) a scale lies below the largest; 255 stands for the scale 0.
Behind them come the matrices' digits, row after row as if in one row. Both are in the order of levels and then names; matrices of equally
many levels are a section. config.json says under `quantization_config` only that, of which version and at how many levels by default.

Version 3 had the description in config.json, and in the tensor for each matrix, in the order of names, digits packed like one row of R K
digits (`pipeline.ops.reference`) and scales, not compressed; version 2 two tensors a matrix, NAME.codes and NAME.scale; version 1 had
5 levels, codes [R, P] packed row by row, and scales in bfloat16.
"""

import math
import statistics
from collections.abc import Mapping
from itertools import chain, groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline import models, ops
from pipeline.errors import UserError
from pipeline.ops.reference import CODES
from pipeline.quantization import grid, stream
from pipeline.quantization.modules import PackedMatrix

METHOD = "quintet"
VERSION = 4
TENSOR = "quantized"
AGAIN = "run the stage `quantize` again"
ZERO = 255


class Entry(NamedTuple):
    """What a directory says about a matrix [R, K]; `largest_scale` is None in version 1, `groups` where a row has one scale."""

    rows: int
    columns: int
    levels: int
    largest_scale: float | None
    groups: int | None

    @property
    def scales(self) -> int:
        return self.rows * (self.groups or 1)

    @property
    def weights(self) -> int:
        return self.rows * self.columns


def describe(matrices: Mapping[str, PackedMatrix]) -> dict[str, Any]:
    """The section `quantization_config` of config.json."""
    return {"quant_method": METHOD, "version": VERSION, "levels": _usual(matrices)}


def _usual(matrices: Mapping[str, PackedMatrix]) -> int:
    return statistics.mode([matrix.levels for _, matrix in sorted(matrices.items())] or [5])


def tensors_of(matrices: Mapping[str, PackedMatrix], others: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What model.safetensors holds: the matrices in one tensor, and all that was not quantized as it is."""
    if TENSOR in others:
        raise ValueError(f"a tensor that is not quantized has the name {TENSOR!r}")
    ordered = [matrix for _, matrix in _ordered(matrices)]
    scales = (_steps_below(matrix.scale).flatten().cpu() for matrix in ordered)
    digits = (map(_bytes_of, same) for _, same in groupby(ordered, lambda matrix: matrix.levels))
    return {**others, TENSOR: stream.compress(_description(matrices), chain([scales], digits))}


def _ordered(entries: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Matrices, or what is said about them, as they follow each other in the file."""
    return sorted(entries.items(), key=lambda item: (item[1].levels, item[0]))


def _bytes_of(matrix: PackedMatrix) -> Tensor:
    return stream.bytes_of(matrix.digits().flatten().cpu(), matrix.levels)


def _description(matrices: Mapping[str, PackedMatrix]) -> dict[str, dict[str, Any]]:
    usual, entries = _usual(matrices), {}
    for name, matrix in matrices.items():
        largest = matrix.scale.float().max().item() if matrix.scale.numel() else 0.0
        own = {} if matrix.levels == usual else {"levels": matrix.levels}
        groups = {} if matrix.scale.dim() == 1 else {"groups": matrix.scale.shape[1]}
        entries[name] = {"shape": [len(matrix.codes), matrix.columns], "largest_scale": largest, **own, **groups}
    return entries


def read(directory: Path) -> tuple[dict[str, Any], dict[str, PackedMatrix], dict[str, Tensor]]:
    """config.json, the packed matrices and the other tensors; raises `UserError` for what is missing, damaged or of a newer version."""
    config = models.read_config(directory)
    where, path = f"{directory / 'config.json'}: quantization_config", directory / "model.safetensors"
    section = _section(config, where)
    version = section["version"]
    tensors = models.read_tensors(path)
    if version > 3:
        return config, _read_stream(tensors, section.get("levels"), path), tensors
    entries = _entries(section.get("matrices"), section.get("levels"), version, f"{where}.matrices")
    one_tensor = bool(entries) and version == 3
    found = _apart(_take(tensors, TENSOR, torch.uint8, [_bytes(entries)], path), entries) if one_tensor else tensors
    matrices = {name: _matrix(found, name, entry, path) for name, entry in sorted(entries.items())}
    return config, matrices, tensors


def _read_stream(tensors: dict[str, Tensor], levels: Any, path: Path) -> dict[str, PackedMatrix]:
    """Take the matrices of version 4 out of `tensors`."""
    where, length = f"{path}: {TENSOR}", tensors[TENSOR].numel() if TENSOR in tensors else 0
    try:
        description, rest = stream.described(_take(tensors, TENSOR, torch.uint8, [length], path))
        entries = _entries(description, levels, VERSION, where)
        ordered = _ordered(entries)
        sizes = [entry.scales for _, entry in ordered] + [stream.size(entry.weights, entry.levels) for _, entry in ordered]
        parts = stream.inflate(rest, sum(sizes)).split(sizes)
    except ValueError as error:
        raise UserError(f"{where} is damaged ({error}): {AGAIN}") from None
    matrices = {}
    for (name, entry), steps, data in zip(ordered, parts, parts[len(ordered) :], strict=False):
        try:
            digits = stream.digits_of(data, entry.weights, entry.levels).view(entry.rows, entry.columns)
        except ValueError as error:
            raise UserError(f"{where}[{name!r}] is damaged ({error}): {AGAIN}") from None
        scale = _scales(steps.view(entry.rows, entry.groups) if entry.groups else steps, entry.largest_scale or 0.0)
        matrices[name] = PackedMatrix(ops.pack(digits, entry.levels), scale, entry.columns, entry.levels)
    return dict(sorted(matrices.items()))


def _bytes(entries: Mapping[str, Entry]) -> int:
    """Of the one tensor in version 3."""
    return sum(ops.bytes_in_row(entry.weights, entry.levels) + entry.scales for entry in entries.values())


def _apart(data: Tensor, entries: Mapping[str, Entry]) -> dict[str, Tensor]:
    """The one tensor of version 3 as the two a matrix that version 2 had."""
    tensors, place = {}, 0
    for name, entry in sorted(entries.items()):
        codes = ops.bytes_in_row(entry.weights, entry.levels)
        tensors[f"{name}.codes"] = data[place : place + codes]
        scale = data[place + codes : place + codes + entry.scales]
        tensors[f"{name}.scale"] = scale.view(entry.rows, entry.groups) if entry.groups else scale
        place += codes + entry.scales
    return tensors


def _section(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The section `quantization_config`, which is found to be of this format and of a version that is known."""
    section = config.get("quantization_config")
    method = section.get("quant_method") if isinstance(section, dict) else None
    if not isinstance(section, dict) or method != METHOD:
        raise UserError(f"{where}.quant_method is {method!r}, not {METHOD!r}: give a directory that `quantize` made")
    version = section.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise UserError(f"{where}.version is {version!r}, but this program reads 1 to {VERSION}: use the one that wrote it")
    return section


def _entries(found: Any, levels: Any, version: int, where: str) -> dict[str, Entry]:
    """What a directory says about each matrix, checked."""
    if not isinstance(found, dict):
        raise UserError(f"{where} is {found!r}, not the shapes of the matrices: {AGAIN}")
    if version == 1:
        found = {name: {"shape": shape, "largest_scale": None} for name, shape in found.items()}
    return {name: _entry(entry, levels, version, f"{where}[{name!r}]") for name, entry in found.items()}


def _entry(entry: Any, levels: Any, version: int, where: str) -> Entry:
    known = entry if isinstance(entry, dict) else {"shape": entry}
    shape, largest, own, groups = (known.get(key) for key in ("shape", "largest_scale", "levels", "groups"))
    if not (isinstance(shape, list) and len(shape) == 2 and all(type(size) is int and 0 <= size < 1 << 62 for size in shape)):
        raise UserError(f"{where} is {shape!r}, not [rows, columns]: {AGAIN}")
    levels = levels if own is None else own
    if type(levels) is not int or levels not in CODES:
        raise UserError(f"{where} has {levels!r} levels, not one of {', '.join(map(str, CODES))}: {AGAIN}")
    if version > 1 and not _is_stored(largest):
        raise UserError(f"{where} has the largest scale {largest!r}, which is none that a file holds: {AGAIN}")
    if groups is not None and (type(groups) is not int or groups < 1 or shape[1] % groups):
        raise UserError(f"{where} has {groups!r} groups, which do not divide its {shape[1]} columns: {AGAIN}")
    return Entry(shape[0], shape[1], levels, largest, groups)


def _is_stored(scale: Any) -> bool:
    """Whether a file may name it as the largest scale. On the CPU, also where transformers has another default device."""
    if not isinstance(scale, float) or not 0 <= scale < math.inf:
        return False
    return grid.stored(torch.tensor([scale], device="cpu")).item() == scale


def _matrix(tensors: dict[str, Tensor], name: str, entry: Entry, path: Path) -> PackedMatrix:
    """Take a matrix's codes and scales out of `tensors`, checked."""
    rows, columns, levels, largest, groups = entry
    one_row = largest is not None
    shape = [ops.bytes_in_row(rows * columns, levels)] if one_row else [rows, ops.bytes_in_row(columns, levels)]
    codes = _take(tensors, f"{name}.codes", torch.uint8, shape, path)
    scale = _take(tensors, f"{name}.scale", torch.uint8 if one_row else grid.SCALE_TYPE, [rows, *([groups] if groups else [])], path)
    try:
        if largest is not None:
            digits = ops.unpack(codes[None], rows * columns, levels).view(rows, columns)
            return PackedMatrix(ops.pack(digits, levels), _scales(scale, largest), columns, levels)
        ops.unpack(codes, columns, levels)
    except ValueError as error:
        raise UserError(f"{path}: {name}.codes is damaged ({error}): {AGAIN}") from None
    if not bool((scale.isfinite() & (scale >= 0)).all()):
        raise UserError(f"{path}: {name}.scale holds a number that is negative or not finite: {AGAIN}")
    return PackedMatrix(codes, scale, columns, levels)


def _take(tensors: dict[str, Tensor], name: str, dtype: torch.dtype, shape: list[int], path: Path) -> Tensor:
    if name not in tensors:
        raise UserError(f"{path} has no tensor {name}, which config.json announces: {AGAIN}")
    tensor = tensors.pop(name)
    if tensor.dtype != dtype or list(tensor.shape) != shape:
        raise UserError(f"{path}: {name} is {tensor.dtype} {list(tensor.shape)}, but config.json asks for {dtype} {shape}: {AGAIN}")
    return tensor


def _steps_below(scale: Tensor) -> Tensor:
    """Steps uint8 of scales below the largest; `ValueError` for what `grid.stored` would change."""
    if not torch.equal(grid.stored(scale), scale.float()):
        raise ValueError("scale must hold numbers that grid.stored leaves as they are")
    steps = grid.step_numbers(scale)
    top = steps.max() if steps.numel() else 0
    return torch.where(scale > 0, top - steps, ZERO).to(torch.uint8)


def _scales(below: Tensor, largest: float) -> Tensor:
    """The way back; a number of steps that leads below the smallest scale gives 0."""
    top = grid.step_numbers(torch.tensor(largest, device="cpu"))
    steps = (top - below.to(torch.int32)).clamp_min(0)
    return grid.scales_of(torch.where(below == ZERO, 0, steps)).to(grid.SCALE_TYPE)
