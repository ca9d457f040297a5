"""`pack` and `unpack`: 5-level weights to 7-bit codes of three and back, as torch operations on the native kernels."""

import torch
from torch import Tensor

from pipeline.ops import native
from pipeline.ops.reference import bytes_in_row


def pack(digits: Tensor) -> Tensor:
    """int8 digits [R, K] in -2..2 -> uint8 [R, ceil(7 ceil(K / 3) / 8)]; `ValueError` for a wrong type, shape or number."""
    packed: Tensor = torch.ops.quintet.pack(digits)
    return packed


def unpack(packed: Tensor, columns: int) -> Tensor:
    """The digits int8 [R, columns] again; `ValueError` for a wrong type or shape, a code above 124 and padding that is not zero."""
    digits: Tensor = torch.ops.quintet.unpack(packed, columns)
    return digits


def rows_of(tensor: Tensor, name: str) -> int:
    """Rows of a matrix; `ValueError` that names it where it is none."""
    if tensor.dim() != 2:
        raise ValueError(f"{name} must have 2 dimensions, not {tensor.dim()}")
    return tensor.shape[0]


def _pack_shape(digits: Tensor) -> Tensor:
    return digits.new_empty(rows_of(digits, "digits"), bytes_in_row(digits.shape[1]), dtype=torch.uint8)


def _unpack_shape(packed: Tensor, columns: int) -> Tensor:
    if columns < 0:
        raise ValueError(f"columns must be at least 0, not {columns}")
    return packed.new_empty(rows_of(packed, "packed"), columns, dtype=torch.int8)


def _pack(digits: Tensor) -> Tensor:
    packed = _pack_shape(digits)
    native.call("pack", digits, packed)
    return packed


def _unpack(packed: Tensor, columns: int) -> Tensor:
    digits = _unpack_shape(packed, columns)
    native.call("unpack", packed, digits)
    return digits


torch.library.define("quintet::pack", "(Tensor digits) -> Tensor")
torch.library.register_fake("quintet::pack", _pack_shape)
torch.library.impl("quintet::pack", "CPU", _pack)
torch.library.define("quintet::unpack", "(Tensor packed, int columns) -> Tensor")
torch.library.register_fake("quintet::unpack", _unpack_shape)
torch.library.impl("quintet::unpack", "CPU", _unpack)
