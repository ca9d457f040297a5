"""`pack` and `unpack`: digits to the codes of `pipeline.ops.reference` and back, as torch operations on the native kernels."""

import torch
from torch import Tensor

from pipeline.ops import native
from pipeline.ops.reference import bytes_in_row


def pack(digits: Tensor, levels: int = 5) -> Tensor:
    """int8 digits [R, K] of 3, 4, 5, 7, 9, 15 or 256 levels -> uint8 [R, bytes_in_row(K, levels)].

    Digits are the whole numbers from -(levels // 2) on: -2..2 for 5 levels. `ValueError` for a wrong type, shape or number.
    """
    packed: Tensor = torch.ops.quintet.pack(digits, levels)
    return packed


def unpack(packed: Tensor, columns: int, levels: int = 5) -> Tensor:
    """The digits int8 [R, columns] again; `ValueError` for a wrong type or shape, what is no code and padding that is not zero."""
    digits: Tensor = torch.ops.quintet.unpack(packed, columns, levels)
    return digits


def rows_of(tensor: Tensor, name: str) -> int:
    """Rows of a matrix; `ValueError` that names it where it is none."""
    if tensor.dim() != 2:
        raise ValueError(f"{name} must have 2 dimensions, not {tensor.dim()}")
    return tensor.shape[0]


def _pack_shape(digits: Tensor, levels: int = 5) -> Tensor:
    return digits.new_empty(rows_of(digits, "digits"), bytes_in_row(digits.shape[1], levels), dtype=torch.uint8)


def _unpack_shape(packed: Tensor, columns: int, levels: int = 5) -> Tensor:
    if columns < 0:
        raise ValueError(f"columns must be at least 0, not {columns}")
    return packed.new_empty(rows_of(packed, "packed"), columns, dtype=torch.int8)


def _pack(digits: Tensor, levels: int = 5) -> Tensor:
    packed = _pack_shape(digits, levels)
    native.call("pack", digits, levels, packed)
    return packed


def _unpack(packed: Tensor, columns: int, levels: int = 5) -> Tensor:
    digits = _unpack_shape(packed, columns, levels)
    native.call("unpack", packed, levels, digits)
    return digits


torch.library.define("quintet::pack", "(Tensor digits, int levels=5) -> Tensor")
torch.library.register_fake("quintet::pack", _pack_shape)
torch.library.impl("quintet::pack", "CPU", _pack)
torch.library.define("quintet::unpack", "(Tensor packed, int columns, int levels=5) -> Tensor")
torch.library.register_fake("quintet::unpack", _unpack_shape)
torch.library.impl("quintet::unpack", "CPU", _unpack)
