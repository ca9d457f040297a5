"""Products with packed weights: the order in which the kernels want them (`tile`), `linear` and `embedding`.

`linear` has two modes. With activations "float" it computes what the weights stand for. With "int8" each token is rounded to 8 bits first,
so that all products and sums are exact integers: the fast mode, whose result is the same on every processor, bit for bit.
"""

import math
from typing import Any

import torch
from torch import Tensor

from pipeline.ops import native
from pipeline.ops.packing import rows_of
from pipeline.ops.reference import per_group

WARP = "warp"
"""The form of CUDA devices (native/include/quintet/cuda/linear.hpp): pieces of 32 rows x 96 columns, 896 bytes each."""
CACHE_BYTES = 16 << 20
"""Half of a large last-level cache: weights that take no more as nibbles are not read from main memory each time."""


def best_form(weights: int, levels: int = 5, device: str = "cpu") -> str:
    """The fastest form on a device ("cpu" or "cuda") of this machine for a matrix in a model of so many weights.

    "dense" (7/3 bits each, 5 levels only), "nibble" (4 bits each, up to 15 levels, but less to decode) or "byte" (8 bits each, any); on a
    CUDA device "warp" (7/3 bits each, 5 levels only).
    """
    if device == "cuda":
        return WARP
    if levels > 15:
        return "byte"
    return "dense" if levels == 5 and native.module().level() == "avx512" and weights // 2 > CACHE_BYTES else "nibble"


def tile(packed: Tensor, columns: int, form: str, levels: int = 5) -> Tensor:
    """Packed weights uint8 [R, P] in the kernels' order: uint8 bytes. `ValueError` for weights that `unpack` refuses."""
    return torch.ops.quintet.tile(packed, columns, form, levels)


def untile(tiles: Tensor, rows: int, columns: int, form: str) -> Tensor:
    """The digits int8 [rows, columns] again."""
    return torch.ops.quintet.untile(tiles, rows, columns, form)


def linear(x: Tensor, tiles: Tensor, scale: Tensor, bias: Tensor | None, form: str, activations: str) -> Tensor:
    """x [..., K] (float32 or bfloat16) times the transpose of scale x digits, plus bias [R]: [..., R] in x's type.

    `scale` is [R], or [R, G] with one for each group of K / G inputs: fastest where its memory is that of [G, R] and groups are multiples
    of 12 inputs (dense) or 8 (nibble). `scale` and `bias` are float32; `activations` is "float" or "int8".
    `ValueError` names an argument of a wrong type or shape.
    """
    return torch.ops.quintet.linear(x, tiles, scale, bias, form, activations)


def embedding(tokens: Tensor, packed: Tensor, scale: Tensor, columns: int, levels: int = 5) -> Tensor:
    """Rows `tokens` int64 [...] of scale [R] or [R, G] (float32) x digits (packed [R, P]): float32 [..., columns].

    `IndexError` for a token that is no row.
    """
    return torch.ops.quintet.embedding(tokens, packed, scale, columns, levels)


def tile_shape(packed: Tensor, columns: int, form: str, levels: int = 5) -> Tensor:
    """What `tile` returns, without its content."""
    rows = rows_of(packed, "packed")
    size = -(-rows // 32) * -(-columns // 96) * 896 if form == WARP else native.module().tiled_bytes(form, rows, columns)
    return packed.new_empty(size, dtype=torch.uint8)


def _tile(packed: Tensor, columns: int, form: str, levels: int = 5) -> Tensor:
    tiles = tile_shape(packed, columns, form)
    native.call("tile", packed, columns, form, levels, tiles)
    return tiles


def untile_shape(tiles: Tensor, rows: int, columns: int, form: str) -> Tensor:
    """What `untile` returns, without its content."""
    return tiles.new_empty(rows, columns, dtype=torch.int8)


def _untile(tiles: Tensor, rows: int, columns: int, form: str) -> Tensor:
    digits = untile_shape(tiles, rows, columns, form)
    native.call("untile", tiles, form, digits)
    return digits


def linear_shape(x: Tensor, tiles: Tensor, scale: Tensor, bias: Tensor | None, form: str, activations: str) -> Tensor:
    """What `linear` returns, without its content."""
    return x.new_empty(*x.shape[:-1], scale.shape[0])


def _linear(x: Tensor, tiles: Tensor, scale: Tensor, bias: Tensor | None, form: str, activations: str) -> Tensor:
    y = linear_shape(x, tiles, scale, bias, form, activations)
    name, x_TK, y_TR = flat(x, y)
    native.call(name, x_TK, tiles, form, per_group(scale).T, bias, activations, torch.get_num_threads(), y_TR)
    return y


def flat(x: Tensor, y: Tensor) -> tuple[str, Tensor, Tensor]:
    """The kernel for x's type, and x and y as matrices of tokens."""
    if x.dtype not in (torch.float32, torch.bfloat16) or x.dim() == 0:
        raise ValueError(f"x must be float32 or bfloat16 of at least 1 dimension, not {x.dtype} {list(x.shape)}")
    tokens = math.prod(x.shape[:-1])
    name = "linear_float32" if x.dtype == torch.float32 else "linear_bfloat16"
    return name, x.reshape(tokens, x.shape[-1]), y.view(tokens, y.shape[-1])


def embedding_shape(tokens: Tensor, packed: Tensor, scale: Tensor, columns: int, levels: int = 5) -> Tensor:
    """What `embedding` returns, without its content."""
    return scale.new_empty(*tokens.shape, columns)


def _embedding(tokens: Tensor, packed: Tensor, scale: Tensor, columns: int, levels: int = 5) -> Tensor:
    rows = embedding_shape(tokens, packed, scale, columns)
    native.call("lookup", tokens.flatten(), packed, per_group(scale), levels, rows.view(tokens.numel(), columns))
    return rows


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, tiles, scale, _, ctx.form, _ = inputs
    ctx.columns = x.shape[-1]
    ctx.save_for_backward(tiles, scale)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Gradient of x alone; rounding activations to int8 counts as the identity (straight-through)."""
    tiles, scale = ctx.saved_tensors
    return grad @ dense(tiles, scale, ctx.columns, ctx.form).to(grad.dtype), None, None, None, None, None


def dense(tiles: Tensor, scale: Tensor, columns: int, form: str) -> Tensor:
    """The float32 matrix [R, K] that tiles and scale stand for."""
    scale_RG = per_group(scale)
    rows, groups = scale_RG.shape
    digits = untile(tiles, rows, columns, form).view(rows, groups, columns // groups)
    return (digits * scale_RG[..., None]).view(rows, columns)


torch.library.define("quintet::tile", "(Tensor packed, int columns, str form, int levels=5) -> Tensor")
torch.library.register_fake("quintet::tile", tile_shape)
torch.library.impl("quintet::tile", "CPU", _tile)
torch.library.define("quintet::untile", "(Tensor tiles, int rows, int columns, str form) -> Tensor")
torch.library.register_fake("quintet::untile", untile_shape)
torch.library.impl("quintet::untile", "CPU", _untile)
torch.library.define("quintet::linear", "(Tensor x, Tensor tiles, Tensor scale, Tensor? bias, str form, str activations) -> Tensor")
torch.library.register_fake("quintet::linear", linear_shape)
torch.library.impl("quintet::linear", "CPU", _linear)
torch.library.register_autograd("quintet::linear", _backward, setup_context=_setup)
torch.library.define("quintet::embedding", "(Tensor tokens, Tensor packed, Tensor scale, int columns, int levels=5) -> Tensor")
torch.library.register_fake("quintet::embedding", embedding_shape)
torch.library.impl("quintet::embedding", "CPU", _embedding)
