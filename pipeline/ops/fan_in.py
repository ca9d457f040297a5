"""A sparse connection: neurons that sum over a few sources each, forwards and backwards, each one native call on a CPU.

`reference_fan_in.fan_in` is the definition. Shapes: B rows, K sources, M targets, F synapses a target.
"""

from typing import Any

import torch
from torch import Tensor

from pipeline.ops import native, reference_fan_in

torch.library.define("quintet::fan_in", "(Tensor weight, Tensor sources, Tensor x) -> Tensor")
torch.library.define(
    "quintet::fan_in_backward",
    "(Tensor weight, Tensor sources, Tensor x, Tensor gradient, bool to_weight, bool to_x) -> (Tensor, Tensor)",
)


def fan_in(weight: Tensor, sources: Tensor, x: Tensor) -> Tensor:
    """y[b, i] = sum over f of weight[i, f] x[b, sources[i // 16, f]], [B, M].

    weight [M, F] and x [B, K] float32, F a multiple of 16; sources [ceil(M / 16), F] int32, from 0 to K - 1, rising along each row: the 16
    targets of a column share them. `ValueError` that names the argument for a wrong type, size or source.
    """
    if x.device.type != "cpu" or torch.compiler.is_exporting():  # the definition is all that other devices and formats have
        return reference_fan_in.fan_in(weight, sources, x)
    y: Tensor = torch.ops.quintet.fan_in(weight, sources, x)
    return y


class Synapses:
    """The weights of a connection for as long as they stay: the gradients of all calls add up in one tensor, which `weight` gets once."""

    def __init__(self, weight: Tensor, sources: Tensor) -> None:
        self.sources, self.total = sources, _Total()
        plain = weight.device.type == "cpu" and not torch.compiler.is_exporting()
        self.weight: Tensor = _Collect.apply(weight, self.total) if plain and torch.is_grad_enabled() and weight.requires_grad else weight

    def __call__(self, x: Tensor) -> Tensor:
        """`fan_in` of x [B, K]."""
        if isinstance(self.weight.grad_fn, _Collect._backward_cls):  # type: ignore[attr-defined]
            y: Tensor = _Run.apply(self.weight, self.sources, x, self.total)
            return y
        return fan_in(self.weight, self.sources, x)


class _Total:
    """Where the gradient of a weight adds up."""

    gradient: Tensor | None = None


class _Collect(torch.autograd.Function):
    """The weight itself; its gradient is what has been added up when all who use it are done."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, total: _Total) -> Tensor:
        ctx.total = total
        ctx.set_materialize_grads(False)
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, *given: Any) -> tuple[Tensor | None, None]:
        gradient, ctx.total.gradient = ctx.total.gradient, None
        if given[0] is not None:  # somebody used the weight in another way
            gradient = given[0] if gradient is None else gradient + given[0]
        return gradient, None


def _output(weight: Tensor, sources: Tensor, x: Tensor) -> Tensor:
    for (name, tensor), rank in zip({"weight": weight, "sources": sources, "x": x}.items(), (2, 2, 2), strict=True):
        if tensor.dim() != rank:
            raise ValueError(f"{name} must have {rank} dimensions, not {tensor.dim()}")
    return x.new_empty(x.shape[0], weight.shape[0])


def _gradients(weight: Tensor, _: Tensor, x: Tensor, gradient: Tensor, to_weight: bool, to_x: bool) -> tuple[Tensor, Tensor]:
    """One that is not wanted has no elements."""
    return weight.new_empty(weight.shape if to_weight else 0), x.new_empty(x.shape if to_x else 0)


torch.library.register_fake("quintet::fan_in", _output)
torch.library.register_fake("quintet::fan_in_backward", _gradients)


@torch.library.impl("quintet::fan_in", "CPU")
def _forward(weight: Tensor, sources: Tensor, x: Tensor) -> Tensor:
    y = _output(weight, sources, x)
    native.call("fan_in_forward", weight.detach(), sources, x.detach(), torch.get_num_threads(), y)
    return y


@torch.library.impl("quintet::fan_in_backward", "CPU")
def _backward(weight: Tensor, sources: Tensor, x: Tensor, gradient: Tensor, to_weight: bool, to_x: bool) -> tuple[Tensor, Tensor]:
    to = _gradients(weight, sources, x, gradient, to_weight, to_x)
    wanted = to[0] if to_weight else None, to[1] if to_x else None
    native.call("fan_in_backward", weight, sources, x, torch.get_num_threads(), gradient, False, *wanted)
    return to


class _Run(torch.autograd.Function):
    """See pipeline.ops.recurrent for why this is no `torch.library.register_autograd`."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, sources: Tensor, x: Tensor, total: _Total | None) -> Tensor:
        ctx.save_for_backward(weight, sources, x)
        ctx.total = total
        return _below(weight, sources, x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        weight, sources, x = ctx.saved_tensors
        to_weight, _, to_x, _ = ctx.needs_input_grad
        if ctx.total is None:
            w, dx = torch.ops.quintet.fan_in_backward(weight, sources, x, gradients[0], to_weight, to_x)
            return w if to_weight else None, None, dx if to_x else None, None
        x_gradient = torch.empty_like(x, memory_format=torch.contiguous_format) if to_x else None
        first = ctx.total.gradient is None
        if first:
            ctx.total.gradient = torch.empty_like(weight, memory_format=torch.contiguous_format)
        threads, to = torch.get_num_threads(), ctx.total.gradient
        native.call("fan_in_backward", weight, sources, x, threads, gradients[0], not first, to, x_gradient)
        return None, None, x_gradient, None


def _below(*inputs: Any) -> Tensor:
    with torch._C._AutoDispatchBelowAutograd():
        y: Tensor = torch.ops.quintet.fan_in.default(*inputs)
    return y


@torch.library.impl("quintet::fan_in", "Autograd")
def _tracked(weight: Tensor, sources: Tensor, x: Tensor) -> Tensor:
    needed = torch.is_grad_enabled() and (weight.requires_grad or x.requires_grad)
    y: Tensor = _Run.apply(weight, sources, x, None) if needed else _below(weight, sources, x)
    return y
