"""The definitions: each operation in plain torch, slow and obvious. The native kernels are tested against these.

Packed 5-level weights (native/include/quintet/packing.hpp says the same): a row of digits w in -2..2 is padded with zeros to a multiple of
three; each three make a code c = (w0 + 2) + 5 (w1 + 2) + 25 (w2 + 2) in 0..124; codes follow each other in 7 bits, lowest bits first; a row
ends at a whole byte, and the bits left over are zero. So a row of K digits takes ceil(7 ceil(K / 3) / 8) bytes: 2.333 bits a weight.
Shapes: R rows, K columns, C codes a row, P packed bytes a row.
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


def linear(x: Tensor, packed_RP: Tensor, scale_R: Tensor, bias_R: Tensor | None, activations: str) -> Tensor:
    """x [..., K] times the transpose of W = scale x digits, plus bias, computed in float32 and returned in x's type."""
    digits_RK = unpack(packed_RP, x.shape[-1])
    if activations == "int8":
        q, token_scale = quantize_activations(x.float())
        sums = (q.double() @ digits_RK.double().T).float()  # exact: integers below 2^53, rounded once
        y = sums * (token_scale * scale_R)
    else:
        y = x.float() @ digits_RK.float().T * scale_R
    return (y if bias_R is None else y + bias_R).to(x.dtype)


def quantize_activations(x: Tensor) -> tuple[Tensor, Tensor]:
    """Each token of x [..., K] as q * s with whole q in -127..127 (ties to even) and s = max|x| / 127 [..., 1].

    A token with a number that is not finite gets s = NaN; one below 1e-30 throughout counts as zero.
    """
    peak = x.abs().amax(-1, keepdim=True) if x.shape[-1] else x.new_zeros(*x.shape[:-1], 1)
    peak = torch.where(peak.isfinite(), peak.clamp(min=1e-30), torch.nan)
    q = (x * (torch.tensor(127.0) / peak)).round()
    return torch.where(peak.isfinite(), q, 0.0), peak / 127


def embedding(tokens: Tensor, packed_RP: Tensor, scale_R: Tensor, columns: int) -> Tensor:
    """Rows `tokens` [...] of the matrix, float32 [..., columns]."""
    digits = unpack(packed_RP[tokens.flatten()], columns)
    return (digits.float() * scale_R[tokens.flatten(), None]).view(*tokens.shape, columns)
