"""T steps of spiking neurons (LIF with adaptive threshold) coupled by a block-sparse matrix, each pass one native call.

`reference_spiking.spiking_run` is the definition. Shapes: B streams, T steps, N neurons, K blocks of M neurons.
"""

from typing import Any

import torch
from torch import Tensor

from pipeline.ops import cuda_spiking, native

_INPUTS = (
    "Tensor weight, Tensor places, Tensor alpha, Tensor theta, Tensor beta, Tensor state, Tensor drive, "
    "int refractory, bool to_zero, float[] numbers, bool keep"
)
_KEPT = "Tensor distances, Tensor adaptations, Tensor spike_bits, Tensor ready_bits"
torch.library.define("quintet::spiking", f"({_INPUTS}) -> (Tensor spikes, Tensor last, {_KEPT})")
torch.library.define(
    "quintet::spiking_backward",
    f"({_INPUTS}, {_KEPT}, Tensor? spikes_gradient, Tensor? last_gradient) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)

Outputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
RESETS = ("subtract", "zero")


def silent_state(streams: int, neurons: int, device: torch.device | str | None = None) -> Tensor:
    """The state [5, B, N] of neurons at rest that never fired: voltage, adaptation, spike, trace, steps since the last spike."""
    state = torch.zeros(5, streams, neurons, device=device)
    state[4] = 1e6
    return state


def spiking_run(
    drive: Tensor,
    weight: Tensor,
    places: Tensor,
    alpha: Tensor,
    theta: Tensor,
    beta: Tensor,
    state: Tensor,
    *,
    rho: float = 0.9,
    kappa: float = 0.9,
    height: float = 0.4,
    refractory: int = 0,
    reset: str = "subtract",
) -> tuple[Tensor, Tensor]:
    """Spikes [B, T, N] of 0 and 1, and the state [5, B, N] after the last step.

    drive [B, T, N] is the current from outside. The coupling is zero but for the blocks `weight` [K, M, M] (M 16, 32 or 64, from row to
    column), block k from the neurons M places[k, 0] ... to M places[k, 1] ...; places int64 [K, 2]. alpha (decay), theta (threshold), beta
    (of the adaptation) are [N]; rho and kappa the decays of adaptation and trace; `height` that of the surrogate derivative. A neuron is
    silent for `refractory` steps after a spike; it is reset by its threshold ("subtract") or to "zero". All float32, weights finite.
    Modules of unlike sizes are ranges of the N neurons, each padded to whole blocks: a projection from one to another is the rectangle of
    blocks between their ranges, and a padded neuron without drive and weights never fires.
    `ValueError` that names the argument for a wrong type, size, device or number.
    """
    if reset not in RESETS:
        raise ValueError(f"reset must be one of {', '.join(RESETS)}, not '{reset}'")
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in (drive, weight, alpha, theta, beta, state))
    numbers = [rho, kappa, height]
    spikes, last, *_ = torch.ops.quintet.spiking(
        weight, places, alpha, theta, beta, state, drive, refractory, reset == "zero", numbers, keep
    )
    return spikes, last


def _outputs(
    weight: Tensor, places: Tensor, alpha: Tensor, theta: Tensor, beta: Tensor, state: Tensor, drive: Tensor, *rest: Any
) -> Outputs:
    tensors = {"weight": weight, "places": places, "alpha": alpha, "theta": theta, "beta": beta, "state": state, "drive": drive}
    for (name, tensor), rank in zip(tensors.items(), (3, 2, 1, 1, 1, 3, 3), strict=True):
        if tensor.dim() != rank:
            raise ValueError(f"{name} must have {rank} dimensions, not {tensor.dim()}")
    batch, steps, neurons = drive.shape
    size = rest[3] * batch * steps * neurons
    bits = size // max(weight.shape[1], 1)
    return (
        drive.new_empty(batch, steps, neurons),
        drive.new_empty(5, batch, neurons),
        drive.new_empty(size),
        drive.new_empty(size),
        drive.new_empty(bits, dtype=torch.int64),
        drive.new_empty(bits, dtype=torch.int64),
    )


def _gradients(
    weight: Tensor, places: Tensor, alpha: Tensor, theta: Tensor, beta: Tensor, state: Tensor, drive: Tensor, *_: Any
) -> Outputs:
    def like(tensor: Tensor) -> Tensor:
        return torch.empty_like(tensor, memory_format=torch.contiguous_format)

    return like(weight), like(alpha), like(theta), like(beta), like(state), like(drive)


torch.library.register_fake("quintet::spiking", _outputs)
torch.library.register_fake("quintet::spiking_backward", _gradients)


def _dense(*arguments: Any) -> list[Any]:
    return [each.contiguous() if isinstance(each, Tensor) else each for each in arguments]


def _numbers(refractory: int, to_zero: bool, numbers: list[float]) -> Any:
    return native.module().SpikingNumbers(refractory, to_zero, *numbers, torch.get_num_threads())


@torch.library.impl("quintet::spiking", "CPU")
def _forward(*inputs: Any) -> Outputs:
    outputs = _outputs(*inputs)
    native.call("spiking_forward", *_dense(*inputs[:7]), _numbers(*inputs[7:10]), inputs[10], *outputs)
    return outputs


@torch.library.impl("quintet::spiking_backward", "CPU")
def _backward(*inputs: Any) -> Outputs:
    gradients = _gradients(*inputs)
    native.call("spiking_backward", *_dense(*inputs[:7]), _numbers(*inputs[7:10]), *_dense(*inputs[11:]), *gradients)
    return gradients


@torch.library.impl("quintet::spiking", "CUDA")
def _forward_cuda(*inputs: Any) -> Outputs:
    outputs = _outputs(*inputs)
    cuda_spiking.forward(_dense(*inputs[:7]), _numbers(*inputs[7:10]), inputs[10], outputs)
    return outputs


@torch.library.impl("quintet::spiking_backward", "CUDA")
def _backward_cuda(*inputs: Any) -> Outputs:
    gradients = _gradients(*inputs)
    cuda_spiking.backward(_dense(*inputs[:7]), _numbers(*inputs[7:10]), _dense(*inputs[11:]), gradients)
    return gradients


class _Run(torch.autograd.Function):
    """See pipeline.ops.recurrent for why this is no `torch.library.register_autograd`."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Outputs:
        outputs = _below(*inputs)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*outputs[2:])
        ctx.save_for_backward(*inputs[:7], *outputs[2:])
        ctx.numbers = inputs[7:]
        return outputs

    @staticmethod
    def backward(ctx: Any, spikes: Tensor | None, last: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        weight, *others = torch.ops.quintet.spiking_backward(*tensors[:7], *ctx.numbers, *tensors[7:], spikes, last)
        return weight, None, *others, *(None,) * 4


def _below(*inputs: Any) -> Outputs:
    with torch._C._AutoDispatchBelowAutograd():
        outputs: Outputs = torch.ops.quintet.spiking.default(*inputs)
    return outputs


@torch.library.impl("quintet::spiking", "Autograd")
def _tracked(*inputs: Any) -> Outputs:
    outputs: Outputs = _Run.apply(*inputs) if inputs[10] else _below(*inputs)
    return outputs
