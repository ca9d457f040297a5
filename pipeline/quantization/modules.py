"""Modules that compute from packed weights, and their exchange for a model's linears, embeddings and convolutions."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline import ops
from pipeline.models.sparse import FanIn
from pipeline.ops.fan_in import fan_in
from pipeline.ops.reference import per_group


class PackedMatrix(nn.Module):
    """R x K weights of few levels: `codes` uint8 [R, P] (`pipeline.ops.reference`) and `scale` [R] or [R, G] (`grid.stored`)."""

    codes: Tensor
    scale: Tensor
    tiles: Tensor
    row_scale: Tensor
    form: str
    activations: str

    def __init__(self, codes_RP: Tensor, scale_R: Tensor, columns: int, levels: int = 5) -> None:
        super().__init__()
        self.columns, self.levels = columns, levels
        self.register_buffer("codes", codes_RP)
        self.register_buffer("scale", scale_R)

    def arrange(self, form: str, activations: str) -> None:
        """Put the weights in the kernels' order, from which products are computed; `activations` is "float" or "int8" (`ops.linear`)."""
        self.form, self.activations = form, activations
        self.register_buffer("tiles", ops.tile(self.codes, self.columns, form, self.levels), persistent=False)
        scale = self.scale.float().t().contiguous().t()  # groups in the order that `ops.linear` likes best
        self.register_buffer("row_scale", scale, persistent=False)

    def multiply(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x [..., K] times the transposed matrix, plus bias: [..., R]."""
        return ops.linear(x, self.tiles, self.row_scale, bias, self.form, self.activations)

    def convolve(self, x: Tensor, bias: Tensor | None, windows: tuple[Any, Any, Any, Any]) -> Tensor:
        """Images x [B, C, H, W] convolved with the rows as kernels: [B, R, H', W']; `windows`: kernel size, stride, padding, dilation."""
        return ops.conv2d(x, self.tiles, self.row_scale, bias, *windows, form=self.form, activations=self.activations).contiguous()

    def rows(self, tokens: Tensor) -> Tensor:
        """Rows [..., K] of the matrix."""
        return ops.embedding(tokens, self.codes, self.row_scale, self.columns, self.levels)

    def dense(self) -> Tensor:
        """The float32 matrix [R, K] that it stands for."""
        scale_RG = per_group(self.scale.float())
        rows, groups = scale_RG.shape
        return (self.digits().view(rows, groups, self.columns // groups) * scale_RG[..., None]).view(rows, self.columns)

    def digits(self) -> Tensor:
        """The digits int8 [R, K]."""
        return ops.unpack(self.codes, self.columns, self.levels)

    @property
    def count(self) -> int:
        """Number of weights."""
        return len(self.codes) * self.columns

    @property
    def nbytes(self) -> int:
        """Bytes of digits in codes of one length (`ops.pack`) and of scales, a byte each: a file takes fewer (see `stream`)."""
        return ops.bytes_in_row(self.count, self.levels) + self.scale.numel()


class PackedLinear(nn.Module):
    """nn.Linear on packed weights."""

    def __init__(self, weight: PackedMatrix, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.multiply(x, self.bias)


class PackedEmbedding(nn.Module):
    """nn.Embedding on packed weights, with `project` for models that use it as their output matrix too."""

    def __init__(self, weight: PackedMatrix) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.weight.rows(tokens)

    def project(self, x: Tensor) -> Tensor:
        """x [..., K] times the transposed matrix: [..., R]."""
        return self.weight.multiply(x)


class PackedConv2d(nn.Module):
    """nn.Conv2d (zero padding, one group) on packed weights: row o holds kernel o [C, h, w], flattened."""

    def __init__(self, weight: PackedMatrix, convolution: nn.Conv2d) -> None:
        super().__init__()
        if convolution.groups != 1 or convolution.padding_mode != "zeros" or isinstance(convolution.padding, str):
            raise ValueError(f"{convolution} cannot be packed: it needs groups=1, padding in numbers and padding_mode='zeros'")
        self.weight, self.bias = weight, convolution.bias
        self.windows = (convolution.kernel_size, convolution.stride, convolution.padding, convolution.dilation)

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.convolve(x, self.bias, self.windows)


class PackedFanIn(nn.Module):
    """FanIn on packed weights: a float copy of this connection is made for as long as it computes."""

    sources: Tensor
    targets: Tensor

    def __init__(self, weight: PackedMatrix, connection: FanIn) -> None:
        super().__init__()
        self.weight = weight
        self.register_buffer("sources", connection.sources, persistent=False)
        self.register_buffer("targets", torch.arange(connection.out_features), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return fan_in(self.weight.rows(self.targets), self.sources, x)


QUANTIZED = nn.Linear | nn.Embedding | nn.Conv2d | FanIn
"""What computes with a matrix that can be packed."""


def exchange(module: nn.Module, packed: Mapping[Tensor, PackedMatrix], activations: str = "float") -> None:
    """Put packed modules in place of all `QUANTIZED` whose weight is in `packed`; tied ones share their matrix."""
    weights = sum(weight.numel() for weight in packed)
    for matrix in packed.values():
        matrix.arrange(ops.best_form(weights, matrix.levels), activations)
    used = set()
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, QUANTIZED) and child.weight in packed:
                used.add(child.weight)
                setattr(parent, name, _packed(child, packed[child.weight]))
    if len(used) != len(packed):
        raise ValueError("a quantizable matrix belongs to no nn.Linear, nn.Embedding, nn.Conv2d or FanIn")


def _packed(child: QUANTIZED, weight: PackedMatrix) -> nn.Module:
    if isinstance(child, nn.Conv2d):
        return PackedConv2d(weight, child)
    if isinstance(child, FanIn):
        return PackedFanIn(weight, child)
    return PackedLinear(weight, child.bias) if isinstance(child, nn.Linear) else PackedEmbedding(weight)
