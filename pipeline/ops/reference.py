"""The definitions: each operation in plain torch, slow and obvious. The native kernels are tested against these.

Packed weights of L levels (native/include/quintet/packing.hpp says the same): digits w are the L whole numbers from -(L // 2) on. A row is
padded with digits 0 to a multiple of D; each D of them make a code, the sum of (w_i + L // 2) L^i, below L^D; codes follow each other in B
bits, lowest bits first; a row ends at a whole byte, and the bits left over are zero. `CODES` gives D and B: five levels take three digits
in 7 bits, 2.333 bits a weight. Shapes: R rows, K columns, C codes a row, P packed bytes a row.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Code(NamedTuple):
    """`digits` digits make a code of `bits` bits."""

    digits: int
    bits: int


CODES = {3: Code(5, 8), 4: Code(1, 2), 5: Code(3, 7), 7: Code(6, 17), 9: Code(5, 16), 15: Code(2, 8), 256: Code(1, 8)}
"""By the number of levels: 1.6, 2, 2.333, 2.833, 3.2, 4 and 8 bits a digit."""


def code_of(levels: int) -> Code:
    """The code of so many levels; `ValueError` where there is none."""
    if levels not in CODES:
        raise ValueError(f"levels must be one of {', '.join(map(str, CODES))}, not {levels}")
    return CODES[levels]


def bytes_in_row(columns: int, levels: int = 5) -> int:
    """Packed bytes of a row of `columns` digits."""
    code = code_of(levels)
    return -(-code.bits * -(-columns // code.digits) // 8)


def pack(digits_RK: Tensor, levels: int = 5) -> Tensor:
    """int8 digits [R, K] -> uint8 [R, P]; `ValueError` for a number that is no digit."""
    code, offset = code_of(levels), levels // 2
    (rows, columns), codes = digits_RK.shape, -(-digits_RK.shape[1] // code.digits)
    if bool(((digits_RK < -offset) | (digits_RK > levels - 1 - offset)).any()):
        raise ValueError(f"digits must be from {-offset} to {levels - 1 - offset}")
    levels_RK = F.pad(digits_RK.long(), (0, -columns % code.digits)) + offset
    codes_RC = (levels_RK.view(rows, codes, code.digits) * levels ** torch.arange(code.digits)).sum(-1)
    bits = (codes_RC[..., None] >> torch.arange(code.bits) & 1).flatten(1)
    bits = F.pad(bits, (0, -bits.shape[1] % 8)).view(rows, bytes_in_row(columns, levels), 8)
    return (bits << torch.arange(8)).sum(-1).to(torch.uint8)


def unpack(packed_RP: Tensor, columns: int, levels: int = 5) -> Tensor:
    """uint8 [R, P] -> int8 digits [R, columns]; `ValueError` for numbers that are no codes and for padding that is not zero."""
    code, offset, rows = code_of(levels), levels // 2, packed_RP.shape[0]
    codes = -(-columns // code.digits)
    bits = (packed_RP.long()[..., None] >> torch.arange(8) & 1).flatten(1)
    codes_RC = (bits[:, : code.bits * codes].view(rows, codes, code.bits) << torch.arange(code.bits)).sum(-1)
    if bool((codes_RC >= levels**code.digits).any()):
        raise ValueError(f"packed must hold codes of at most {levels**code.digits - 1}")
    digits = (codes_RC[..., None] // levels ** torch.arange(code.digits) % levels - offset).view(rows, code.digits * codes)
    if bool(bits[:, code.bits * codes :].any()) or bool(digits[:, columns:].any()):
        raise ValueError("packed must hold only zeros after the last column")
    return digits[:, :columns].to(torch.int8)


def linear(x: Tensor, packed_RP: Tensor, scale: Tensor, bias_R: Tensor | None, activations: str, levels: int = 5) -> Tensor:
    """x [..., K] times the transpose of W = scale x digits, plus bias, computed in float32 and returned in x's type.

    scale [R], or [R, G]: then inputs g K / G .. (g + 1) K / G have the scales of column g.
    """
    digits_RK = unpack(packed_RP, x.shape[-1], levels)
    values, token_scale = quantize_activations(x.float()) if activations == "int8" else (x.float(), None)
    return products(values, token_scale, digits_RK, scale, bias_R).to(x.dtype)


def products(values: Tensor, token_scale: Tensor | None, digits_RK: Tensor, scale: Tensor, bias_R: Tensor | None) -> Tensor:
    """values [..., K] (times token_scale [..., 1], where they are whole numbers) and the rows of scale x digits: [..., R].

    To the bias each group adds its sum times its scales, the first group first.
    """
    scale_RG = per_group(scale)
    size = (scale_RG.shape[1], digits_RK.shape[1] // scale_RG.shape[1])
    groups = zip(values.unflatten(-1, size).unbind(-2), digits_RK.unflatten(-1, size).unbind(1), scale_RG.unbind(1), strict=True)
    y = bias_R
    for part_values, part_digits, part_scale in groups:
        if token_scale is None:
            part = part_values @ part_digits.to(values.dtype).T * part_scale
        else:
            sums = (part_values.double() @ part_digits.double().T).float()  # exact: integers below 2^53, rounded once
            part = sums * (token_scale * part_scale)
        y = part if y is None else y + part
    assert y is not None
    return y


def per_group(scale: Tensor) -> Tensor:
    """scale [R] or [R, G] as [R, G]."""
    if scale.dim() not in (1, 2):
        raise ValueError(f"scale must have 1 or 2 dimensions, not {scale.dim()}")
    return scale if scale.dim() == 2 else scale[:, None]


def quantize_activations(x: Tensor) -> tuple[Tensor, Tensor]:
    """Each token of x [..., K] as q * s with whole q in -127..127 (ties to even) and s = max|x| / 127 [..., 1].

    A token with a number that is not finite gets s = NaN; one below 1e-30 throughout counts as zero.
    """
    peak = x.abs().amax(-1, keepdim=True) if x.shape[-1] else x.new_zeros(*x.shape[:-1], 1)
    peak = torch.where(peak.isfinite(), peak.clamp(min=1e-30), torch.nan)
    q = (x * (torch.tensor(127.0) / peak)).round()
    return torch.where(peak.isfinite(), q, 0.0), peak / 127


def conv2d(
    x: Tensor,
    packed_OP: Tensor,
    scale: Tensor,
    bias_O: Tensor | None,
    windows: dict[str, tuple[int, int]],
    activations: str,
    levels: int = 5,
) -> Tensor:
    """Images x [B, C, H, W] convolved with scale x digits [O, C x kernel]: [B, O, H', W'] in x's type.

    `windows` has kernel_size, stride, padding and dilation. With activations "int8" an image is rounded as a whole: it has one scale.
    """
    values, image_scale = quantize_activations(x.float().flatten(1)) if activations == "int8" else (x.float(), None)
    tokens_BTK = F.unfold(values.view(x.shape), **windows).transpose(1, 2)
    digits_OK = unpack(packed_OP, tokens_BTK.shape[-1], levels)
    y_BTO = products(tokens_BTK, None if image_scale is None else image_scale[:, None], digits_OK, scale, bias_O)
    sizes = zip(x.shape[2:], windows["kernel_size"], windows["stride"], windows["padding"], windows["dilation"], strict=True)
    shape = [(size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in sizes]
    return y_BTO.transpose(1, 2).unflatten(-1, shape).to(x.dtype)


def embedding(tokens: Tensor, packed_RP: Tensor, scale: Tensor, columns: int, levels: int = 5) -> Tensor:
    """Rows `tokens` [...] of the matrix, float32 [..., columns]; scale [R] or [R, G]."""
    digits = unpack(packed_RP[tokens.flatten()], columns, levels)
    scales = per_group(scale)[tokens.flatten()]
    return (digits.float() * scales.repeat_interleave(columns // scales.shape[1], 1)).view(*tokens.shape, columns)
