"""A phase of spiking neurons (normalised current, then internal steps of adaptive LIF), each pass one native call on a CPU.

`reference_phase.phase_run` is the definition. Shapes: B rows, N neurons.
"""

from typing import Any

import torch
from torch import Tensor

from pipeline.ops import native, reference_phase

_INPUTS = (
    "Tensor current, Tensor gain, Tensor bias, Tensor modulation, Tensor decay, Tensor charge, Tensor voltage, Tensor adaptation, "
    "int steps, float rho, float beta, float height"
)
torch.library.define("quintet::phase", f"({_INPUTS}) -> (Tensor rate, Tensor last, Tensor adapted)")
torch.library.define(
    "quintet::phase_backward",
    f"({_INPUTS}, Tensor? rate, Tensor? last) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)

Outputs = tuple[Tensor, Tensor, Tensor]
Gradients = tuple[Tensor, ...]


def phase_run(
    current: Tensor,
    gain: Tensor,
    bias: Tensor,
    modulation: Tensor,
    decay: Tensor,
    charge: Tensor,
    voltage: Tensor,
    adaptation: Tensor,
    *,
    steps: int = 1,
    rho: float = 0.9,
    beta: float = 1.5,
    height: float = 0.4,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean spikes over `steps` (1 to 16) internal steps, and the voltage and adaptation after the last, all [B, N].

    current, modulation, voltage, adaptation [B, N], gain and bias [N], decay and charge [1, N] or [B, N]; all float32, N a multiple of 16.
    See the definition for what is computed. `ValueError` that names the argument for a wrong type, size or number.
    """
    inputs = (current, gain, bias, modulation, decay, charge, voltage, adaptation)
    if current.device.type != "cpu":  # the definition is all that other devices have
        return reference_phase.phase_run(*inputs, steps=steps, rho=rho, beta=beta, height=height)
    outputs: Outputs = torch.ops.quintet.phase(*inputs, steps, rho, beta, height)
    return outputs


def _outputs(current: Tensor, *_: Any) -> Outputs:
    rate, last, adapted = (torch.empty_like(current, memory_format=torch.contiguous_format) for _ in range(3))
    return rate, last, adapted


def _gradients(*inputs: Any) -> Gradients:
    return tuple(torch.empty_like(each, memory_format=torch.contiguous_format) for each in inputs[:7])


torch.library.register_fake("quintet::phase", _outputs)
torch.library.register_fake("quintet::phase_backward", _gradients)


@torch.library.impl("quintet::phase", "CPU")
def _forward(*inputs: Any) -> Outputs:
    outputs = _outputs(*inputs)
    native.call("phase_forward", *inputs, reference_phase.EPSILON, torch.get_num_threads(), *outputs)
    return outputs


@torch.library.impl("quintet::phase_backward", "CPU")
def _backward(*inputs: Any) -> Gradients:
    gradients = _gradients(*inputs)
    native.call("phase_backward", *inputs[:12], reference_phase.EPSILON, torch.get_num_threads(), *inputs[12:], *gradients)
    return gradients


class _Run(torch.autograd.Function):
    """See pipeline.ops.recurrent for why this is no `torch.library.register_autograd`."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Outputs:
        outputs = _below(*inputs)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(outputs[2])
        ctx.save_for_backward(*inputs[:8])
        ctx.numbers = inputs[8:]
        return outputs

    @staticmethod
    def backward(ctx: Any, rate: Tensor | None, last: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        gradients = torch.ops.quintet.phase_backward(*ctx.saved_tensors, *ctx.numbers, rate, last)
        return *gradients, *(None,) * 5


def _below(*inputs: Any) -> Outputs:
    with torch._C._AutoDispatchBelowAutograd():
        outputs: Outputs = torch.ops.quintet.phase.default(*inputs)
    return outputs


@torch.library.impl("quintet::phase", "Autograd")
def _tracked(*inputs: Any) -> Outputs:
    needed = torch.is_grad_enabled() and any(x.requires_grad for x in inputs[:8])
    outputs: Outputs = _Run.apply(*inputs) if needed else _below(*inputs)
    return outputs
