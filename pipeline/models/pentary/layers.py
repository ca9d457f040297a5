"""Layers as data: a description that JSON can hold, and the module that it stands for.

    {"type": "linear", "in_features", "out_features", "use_bias"}
    {"type": "conv2d", "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "use_bias"}
    {"type": "batchnorm", "num_features", "epsilon"}          {"type": "maxpool2d" | "avgpool2d", "kernel_size", "stride", "padding"}
    {"type": "globalavgpool2d" | "relu" | "sigmoid" | "tanh" | "identity"}      {"type": "softmax", "axis"}
    {"type": "flatten"}       {"type": "reshape", "shape"}    {"type": "tokenmean", "num_embeddings", "embedding_dim"}
    {"type": "slice", "start", "stop"}                        {"type": "normalize", "mean", "deviation"}
    {"type": "add" | "multiply"}                              {"type": "concat", "axis"}

Pairs are [height, width]; `shape` and `axis` do not count the batch, which comes first; a slice is of the first axis after it. The last
row takes several inputs.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Layer = Mapping[str, Any]


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalization of features [B, C] or images [B, C, H, W], over all axes but C (Ioffe & Szegedy 2015, arXiv:1502.03167)."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 4):
            raise ValueError(f"input must be [B, C] or [B, C, H, W], not {list(input.shape)}")


class TokenMean(nn.Module):
    """Mean of the embeddings of tokens [B, T]: [B, D]; token 0 is padding and does not count, a text without any other gives zeros.

    Tokens may come as floats, side by side with other features.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_embeddings, embedding_dim)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        tokens_BT = tokens_BT.long()
        counts_BT = (tokens_BT != 0).to(self.embedding(tokens_BT).dtype)
        return (self.embedding(tokens_BT) * counts_BT[..., None]).sum(1) / counts_BT.sum(1, keepdim=True).clamp_min(1)


class Reshape(nn.Module):
    """[B, ...] to [B, *shape]."""

    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.shape)


class Slice(nn.Module):
    """[B, N, ...] to [B, stop - start, ...]; `ValueError` for a part that is empty, or not there."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        if not 0 <= start < stop:
            raise ValueError(f"a slice from {start} to {stop} has nothing in it")
        self.start, self.stop = start, stop

    def forward(self, x: Tensor) -> Tensor:
        if self.stop > x.shape[1]:
            raise ValueError(f"a slice to {self.stop} of {x.shape[1]} numbers")
        return x[:, self.start : self.stop]


class Normalize(nn.Module):
    """(x - mean) / deviation, with one number for all; `ValueError` for a deviation of 0, and numbers that are not finite."""

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__()
        if not math.isfinite(mean) or not math.isfinite(deviation) or deviation == 0:
            raise ValueError(f"mean {mean} and deviation {deviation} must be finite, and the deviation not 0")
        self.mean, self.deviation = mean, deviation

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation


class Merge(nn.Module):
    """Several inputs to one, of equal shapes (concat: equal but for `axis`) or such that PyTorch repeats one for the other."""

    def __init__(self, kind: str, axis: int = 0) -> None:
        super().__init__()
        self.kind, self.axis = kind, axis

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.kind == "concat":
            return torch.cat(inputs, self.axis + 1)
        result = inputs[0]
        for other in inputs[1:]:
            result = result + other if self.kind == "add" else result * other
        return result


def pair(value: Any) -> tuple[int, int]:
    """[height, width], or one number for both."""
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _conv2d(layer: Layer) -> nn.Module:
    windows = {name: pair(layer.get(name, usual)) for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1))}
    sizes = layer["in_channels"], layer["out_channels"], pair(layer["kernel_size"])
    return nn.Conv2d(*sizes, **windows, bias=layer.get("use_bias", True))  # type: ignore[arg-type]


def _pool(kind: Callable[..., nn.Module]) -> Callable[[Layer], nn.Module]:
    return lambda layer: kind(pair(layer["kernel_size"]), pair(layer.get("stride", layer["kernel_size"])), pair(layer.get("padding", 0)))


MAKERS: dict[str, Callable[[Layer], nn.Module]] = {
    "linear": lambda layer: nn.Linear(layer["in_features"], layer["out_features"], layer.get("use_bias", True)),
    "conv2d": _conv2d,
    "batchnorm": lambda layer: BatchNorm(layer["num_features"], layer.get("epsilon", 1e-5)),
    "maxpool2d": _pool(nn.MaxPool2d),
    "avgpool2d": _pool(nn.AvgPool2d),
    "globalavgpool2d": lambda layer: nn.AdaptiveAvgPool2d(1),
    "relu": lambda layer: nn.ReLU(),
    "sigmoid": lambda layer: nn.Sigmoid(),
    "tanh": lambda layer: nn.Tanh(),
    "identity": lambda layer: nn.Identity(),
    "softmax": lambda layer: nn.Softmax(layer["axis"] + 1),
    "flatten": lambda layer: nn.Flatten(),
    "reshape": lambda layer: Reshape([int(size) for size in layer["shape"]]),
    "tokenmean": lambda layer: TokenMean(layer["num_embeddings"], layer["embedding_dim"]),
    "slice": lambda layer: Slice(int(layer["start"]), int(layer["stop"])),
    "normalize": lambda layer: Normalize(float(layer["mean"]), float(layer["deviation"])),
    "add": lambda layer: Merge("add"),
    "multiply": lambda layer: Merge("multiply"),
    "concat": lambda layer: Merge("concat", layer["axis"]),
}


def make(layer: Layer) -> nn.Module:
    """The module that a description stands for, with fresh weights; `ValueError` for a type that is none and a key that is absent."""
    if layer.get("type") not in MAKERS:
        raise ValueError(f"layer type {layer.get('type')!r} is none of {', '.join(MAKERS)}")
    try:
        return MAKERS[layer["type"]](layer)
    except KeyError as error:
        raise ValueError(f"a layer of type {layer['type']!r} needs {error}") from None


def mlp(input_dim: int, hidden_dims: list[int], output_dim: int) -> list[dict[str, Any]]:
    """Linear layers with a ReLU after each but the last."""
    widths = [input_dim, *hidden_dims, output_dim]
    found: list[dict[str, Any]] = []
    for before, after in itertools.pairwise(widths):
        found += [{"type": "linear", "in_features": before, "out_features": after, "use_bias": True}, {"type": "relu"}]
    return found[:-1]


@torch.no_grad()
def initialize(module: nn.Module, generator: torch.Generator) -> None:
    """Start a training: matrices and kernels uniform by He et al. 2015 (arXiv:1502.01852), embeddings normal, biases zero."""
    for child in module.modules():
        if isinstance(child, nn.Linear | nn.Conv2d):
            limit = math.sqrt(6.0 / max(1, child.weight[0].numel()))
            child.weight.uniform_(-limit, limit, generator=generator)
            if child.bias is not None:
                child.bias.zero_()
        elif isinstance(child, nn.Embedding):
            child.weight.normal_(0.0, 1.0, generator=generator)
