"""The operations of `pipeline.ops.linear` on CUDA devices, in the form "warp" of 5 levels.

Weights that no file may hold and indices outside a matrix are seen on the device; that `tile` and `embedding` raise for them as on a CPU
costs a wait for the device's stream. `linear` never waits.
"""

import torch
from torch import Tensor

from pipeline.ops import native
from pipeline.ops.linear import WARP, embedding_shape, flat, linear_shape, tile_shape, untile_shape
from pipeline.ops.packing import unpack
from pipeline.ops.reference import per_group


def _require(form: str, levels: int = 5) -> None:
    if form != WARP:
        raise ValueError(f"form must be '{WARP}' on a CUDA device, not '{form}'")
    if levels != 5:
        raise ValueError(f"levels must be 5 on a CUDA device, not {levels}")


def _tile(packed: Tensor, columns: int, form: str, levels: int = 5) -> Tensor:
    _require(form, levels)
    tiles, fault = tile_shape(packed, columns, form), _no_fault(packed)
    native.call_cuda("tile", packed.device, packed, columns, tiles, fault)
    if fault.item():
        _refuse(packed, columns, levels)
    return tiles


def _no_fault(like: Tensor) -> Tensor:
    return torch.zeros(1, dtype=torch.int32, device=like.device)


def _refuse(packed: Tensor, columns: int, levels: int) -> None:
    """The CPU's reader names the place."""
    unpack(packed.cpu(), columns, levels)
    raise RuntimeError("the CUDA reader of packed weights refuses what the CPU's accepts")


def _untile(tiles: Tensor, rows: int, columns: int, form: str) -> Tensor:
    _require(form)
    digits = untile_shape(tiles, rows, columns, form)
    native.call_cuda("untile", tiles.device, tiles, digits)
    return digits


def _linear(x: Tensor, tiles: Tensor, scale: Tensor, bias: Tensor | None, form: str, activations: str) -> Tensor:
    _require(form)
    y = linear_shape(x, tiles, scale, bias, form, activations)
    name, x_TK, y_TR = flat(x, y)
    size = native.call_cuda("workspace", x.device, *x_TK.shape, activations)
    workspace = x.new_empty(size, dtype=torch.uint8)
    native.call_cuda(name, x.device, x_TK, tiles, per_group(scale).T, bias, activations, workspace, y_TR)
    return y


def _embedding(tokens: Tensor, packed: Tensor, scale: Tensor, columns: int, levels: int = 5) -> Tensor:
    rows, fault = embedding_shape(tokens, packed, scale, columns), _no_fault(tokens)
    native.call_cuda("lookup", tokens.device, tokens.flatten(), packed, per_group(scale), levels, rows.view(tokens.numel(), columns), fault)
    if fault.item() == 2:
        outside = tokens[(tokens < 0) | (tokens >= packed.shape[0])][0].item()
        raise IndexError(f"tokens holds {outside}, which is no row of the matrix")
    if fault.item():
        _refuse(packed, columns, levels)
    return rows


torch.library.impl("quintet::tile", "CUDA", _tile)
torch.library.impl("quintet::untile", "CUDA", _untile)
torch.library.impl("quintet::linear", "CUDA", _linear)
torch.library.impl("quintet::embedding", "CUDA", _embedding)
