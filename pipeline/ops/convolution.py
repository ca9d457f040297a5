"""Two-dimensional convolution with packed weights: the linear operation on every window of the images.

A 1-D convolution is the same with images of height 1: x[:, :, None, :] and kernel (1, k).
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.grad import conv2d_input

from pipeline.ops import native
from pipeline.ops.linear import dense
from pipeline.ops.reference import per_group

Pair = tuple[int, int]


def conv2d(
    x: Tensor,
    tiles: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    form: str,
    activations: str,
) -> Tensor:
    """Images x [B, C, H, W] (float32 or bfloat16) convolved with scale x digits [O, C x kernel]: [B, O, H', W'] in x's type.

    The weights are those of `nn.Conv2d`, flattened from dimension 1 on; `tiles`, `scale`, `bias` and `form` are those of `ops.linear`. With
    activations "int8" each image is rounded to 8 bits with one scale. The result lies in memory as [B, H', W', O] (channels last).
    `ValueError` names an argument of a wrong type, shape or value.
    """
    return torch.ops.quintet.conv2d(x, tiles, scale, bias, kernel_size, stride, padding, dilation, form, activations)


def _shape(x: Tensor, scale: Tensor, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """An empty result [B, H', W', O]."""
    windows = zip(x.shape[2:], kernel_size, stride, padding, dilation, strict=True)
    height, width = (max(0, (size + 2 * p - d * (k - 1) - 1) // max(1, s) + 1) for size, k, s, p, d in windows)
    return x.new_empty(x.shape[0], height, width, scale.shape[0])


def _fake(
    x: Tensor,
    tiles: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    form: str,
    activations: str,
) -> Tensor:
    return _shape(x, scale, kernel_size, stride, padding, dilation).permute(0, 3, 1, 2)


def _conv2d(
    x: Tensor,
    tiles: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    form: str,
    activations: str,
) -> Tensor:
    if x.dtype not in (torch.float32, torch.bfloat16) or x.dim() != 4:
        raise ValueError(f"x must be float32 or bfloat16 of 4 dimensions, not {x.dtype} {list(x.shape)}")
    y_BHWO = _shape(x, scale, kernel_size, stride, padding, dilation)
    name = "conv2d_float32" if x.dtype == torch.float32 else "conv2d_bfloat16"
    pairs = (kernel_size, stride, padding, dilation)
    native.call(name, x, tiles, form, per_group(scale).T, bias, *pairs, activations, torch.get_num_threads(), y_BHWO)
    return y_BHWO.permute(0, 3, 1, 2)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, tiles, scale, _, ctx.kernel_size, ctx.stride, ctx.padding, ctx.dilation, ctx.form, _ = inputs
    ctx.shape = x.shape
    ctx.save_for_backward(tiles, scale)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Gradient of x alone; rounding activations to int8 counts as the identity (straight-through)."""
    tiles, scale = ctx.saved_tensors
    weight = dense(tiles, scale, ctx.shape[1] * ctx.kernel_size[0] * ctx.kernel_size[1], ctx.form).to(grad.dtype)
    weight_OCHW = weight.view(scale.shape[0], ctx.shape[1], *ctx.kernel_size)
    return conv2d_input(ctx.shape, weight_OCHW, grad, ctx.stride, ctx.padding, ctx.dilation), *[None] * 9


torch.library.define(
    "quintet::conv2d",
    "(Tensor x, Tensor tiles, Tensor scale, Tensor? bias, int[2] kernel_size, int[2] stride, int[2] padding, int[2] dilation, "
    "str form, str activations) -> Tensor",
)
torch.library.register_fake("quintet::conv2d", _fake)
torch.library.impl("quintet::conv2d", "CPU", _conv2d)
torch.library.register_autograd("quintet::conv2d", _backward, setup_context=_setup)
