"""The definitions: each operation in plain torch, slow and obvious. The native kernels are tested against these.

Packed 5-level weights (native/include/quintet/packing.hpp says the same): a row of digits w in -2..2 is padded with zeros to a multiple of
three; each three make a code c = (w0 + 2) + 5 (w1 + 2) + 25 (w2 + 2) in 0..124; codes follow each other in 7 bits, lowest bits first; a row
ends at a whole byte, and the bits left over are zero. So a row of K digits takes ceil(7 ceil(K / 3) / 8) bytes: 2.333 bits a weight.
Shapes: R rows, K columns, C codes a row, P packed bytes a row, B batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def bytes_in_row(columns: int) -> int:
    """Packed bytes of a row of `columns` digits."""
    codes = -(-columns // 3)
    return -(-7 * codes // 8)


def pack(digits_RK: Tensor) -> Tensor:
    """int8 digits [R, K] -> uint8 [R, P]; `ValueError` for a number that is no digit."""
    if bool(((digits_RK < -2) | (digits_RK > 2)).any()):
        raise ValueError("digits must be from -2 to 2")
    rows, columns = digits_RK.shape
    levels = F.pad(digits_RK.long(), (0, -columns % 3)) + 2
    codes_RC = (levels.view(rows, -(-columns // 3), 3) * torch.tensor([1, 5, 25])).sum(-1)
    bits = (codes_RC[..., None] >> torch.arange(7) & 1).flatten(1)
    bits = F.pad(bits, (0, -bits.shape[1] % 8)).view(rows, bytes_in_row(columns), 8)
    return (bits << torch.arange(8)).sum(-1).to(torch.uint8)


def unpack(packed_RP: Tensor, columns: int) -> Tensor:
    """uint8 [R, P] -> int8 digits [R, columns]; `ValueError` for codes above 124 and for padding that is not zero."""
    rows, codes = packed_RP.shape[0], -(-columns // 3)
    bits = (packed_RP.long()[..., None] >> torch.arange(8) & 1).flatten(1)
    codes_RC = (bits[:, : 7 * codes].view(rows, codes, 7) << torch.arange(7)).sum(-1)
    if bool((codes_RC > 124).any()):
        raise ValueError("packed must hold codes of at most 124")
    digits = (codes_RC[..., None] // torch.tensor([1, 5, 25]) % 5 - 2).view(rows, 3 * codes)
    if bool(bits[:, 7 * codes :].any()) or bool(digits[:, columns:].any()):
        raise ValueError("packed must hold only zeros after the last column")
    return digits[:, :columns].to(torch.int8)


def linear(x_BK: Tensor, packed_RP: Tensor, scale_R: Tensor, bias_R: Tensor | None = None) -> Tensor:
    """x W^T + bias with W = scale x digits, in x's type: each product of x with a row's digits is scaled once."""
    digits = unpack(packed_RP, x_BK.shape[-1]).to(x_BK.dtype)
    y = F.linear(x_BK, digits) * scale_R.to(x_BK.dtype)
    return y if bias_R is None else y + bias_R


def embedding(tokens: Tensor, packed_RP: Tensor, scale_R: Tensor, columns: int) -> Tensor:
    """float32 rows `tokens` [...] of the matrix: [..., columns]."""
    digits = unpack(packed_RP[tokens.flatten()], columns)
    rows = digits.float() * scale_R[tokens.flatten(), None].float()
    return rows.view(*tokens.shape, columns)
