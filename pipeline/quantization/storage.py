"""The quantized model directory: a float one in which each quantized matrix NAME became NAME.codes (uint8) and NAME.scale (bfloat16).

config.json says so under `quantization_config`, with the shape of each matrix, so that the file can be read without knowing the model.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import models, ops
from pipeline.errors import UserError
from pipeline.quantization.grid import SCALE_TYPE, TOP
from pipeline.quantization.modules import PackedMatrix

METHOD = "quintet"
VERSION = 1
AGAIN = "run the stage `quantize` again"


def describe(matrices: Mapping[str, PackedMatrix]) -> dict[str, Any]:
    """The section `quantization_config` of config.json."""
    shapes = {name: [matrix.codes.shape[0], matrix.columns] for name, matrix in matrices.items()}
    return {"quant_method": METHOD, "version": VERSION, "levels": 2 * TOP + 1, "bits_per_code": 7, "matrices": shapes}


def tensors_of(matrices: Mapping[str, PackedMatrix], others: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What model.safetensors holds: codes and scales, and all that was not quantized as it is."""
    codes = {f"{name}.codes": matrix.codes for name, matrix in matrices.items()}
    scales = {f"{name}.scale": matrix.scale for name, matrix in matrices.items()}
    return {**codes, **scales, **others}


def read(directory: Path) -> tuple[dict[str, Any], dict[str, PackedMatrix], dict[str, Tensor]]:
    """config.json, the packed matrices and the other tensors; raises `UserError` for what is missing, damaged or of another version."""
    config = models.read_config(directory)
    shapes = _shapes(config.get("quantization_config"), directory / "config.json")
    path = directory / "model.safetensors"
    tensors = models.read_tensors(path)
    matrices = {name: _matrix(tensors, name, shape, path) for name, shape in sorted(shapes.items())}
    return config, matrices, tensors


def _shapes(section: Any, path: Path) -> dict[str, tuple[int, int]]:
    """Rows and columns of each matrix from `quantization_config`, checked."""
    method = section.get("quant_method") if isinstance(section, dict) else None
    if method != METHOD:
        raise UserError(f"{path}: quantization_config.quant_method is {method!r}, not {METHOD!r}: give a directory that `quantize` made")
    if section.get("version") != VERSION:
        raise UserError(f"{path}: quantization_config.version is {section.get('version')!r}, but this program reads {VERSION}: {AGAIN}")
    shapes = section.get("matrices")
    if not isinstance(shapes, dict):
        raise UserError(f"{path}: quantization_config.matrices is {shapes!r}, not the shapes of the matrices: {AGAIN}")
    for name, shape in shapes.items():
        if not (isinstance(shape, list) and len(shape) == 2 and all(type(size) is int and size >= 0 for size in shape)):
            raise UserError(f"{path}: quantization_config.matrices[{name!r}] is {shape!r}, not [rows, columns]: {AGAIN}")
    return {name: (shape[0], shape[1]) for name, shape in shapes.items()}


def _matrix(tensors: dict[str, Tensor], name: str, shape: tuple[int, int], path: Path) -> PackedMatrix:
    """Take a matrix's codes and scales out of `tensors`, checked."""
    rows, columns = shape
    codes = _take(tensors, f"{name}.codes", torch.uint8, [rows, ops.bytes_in_row(columns)], path)
    scale = _take(tensors, f"{name}.scale", SCALE_TYPE, [rows], path)
    if not bool((scale.isfinite() & (scale >= 0)).all()):
        raise UserError(f"{path}: {name}.scale holds a number that is negative or not finite: {AGAIN}")
    try:
        ops.unpack(codes, columns)
    except ValueError as error:
        raise UserError(f"{path}: {name}.codes is damaged ({error}): {AGAIN}") from None
    return PackedMatrix(codes, scale, columns)


def _take(tensors: dict[str, Tensor], name: str, dtype: torch.dtype, shape: list[int], path: Path) -> Tensor:
    if name not in tensors:
        raise UserError(f"{path} has no tensor {name}, which config.json announces: {AGAIN}")
    tensor = tensors.pop(name)
    if tensor.dtype != dtype or list(tensor.shape) != shape:
        raise UserError(f"{path}: {name} is {tensor.dtype} {list(tensor.shape)}, but config.json asks for {dtype} {shape}: {AGAIN}")
    return tensor
