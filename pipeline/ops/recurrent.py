"""RealNet's recurrent run, h' = gain RMSNorm(dropout(act(h W + b + I_t))), forward and backward in one native call each.

Here on the CPU, in `cuda_recurrent` on CUDA, where the host waits for the device only to check `places` and for a `seed` that lies there.
`reference_recurrent.recurrent_run` is the definition.
Shapes: B rows, N neurons, S frames of input, I neurons that receive it, C collected states.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from pipeline.ops import native
from pipeline.ops.reference_recurrent import EPSILON

# `plan` is [steps, every, hold, collect, segment, keep]: few arguments, since torch.library looks at each of them at each call.
_INPUTS = (
    "Tensor weight, Tensor bias, Tensor gain, Tensor? state, Tensor drive, Tensor? places, "
    "Tensor seed, int[] plan, str activation, float dropout, float epsilon"
)
_KEPT = "Tensor values, Tensor scales, Tensor masks"
torch.library.define("quintet::recurrent", f"({_INPUTS}) -> (Tensor final, Tensor states, {_KEPT})")
torch.library.define(
    "quintet::recurrent_backward",
    f"({_INPUTS}, {_KEPT}, Tensor? final_gradient, Tensor? states_gradient) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)

Outputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
_NO_SEED = torch.tensor(0)
_PLAIN = (Tensor, Parameter)


def recurrent_run(
    drive: Tensor,
    weight: Tensor,
    bias: Tensor,
    gain: Tensor,
    *,
    steps: int,
    state: Tensor | None = None,
    places: Tensor | None = None,
    every: int = 1,
    hold: bool = False,
    collect: int = 0,
    activation: str = "tanh",
    dropout: float = 0.0,
    seed: int | Tensor = 0,
    epsilon: float = EPSILON,
    segment: int = 0,
) -> tuple[Tensor, Tensor]:
    """`steps` steps from `state` [B, N] (None: zero) -> final state [B, N], states after steps collect, 2 collect, ... [B, C, N].

    Frame k of `drive` [B, S, I] enters at step k * every, at the neurons `places` int64 [I] (None: all N); with `hold` it stays until the
    next frame. weight [N, N] maps from row to column; bias, gain [N]; all float32. Dropout's mask is a function of (seed, step, row,
    neuron): take another seed (an int, or an int64 tensor without dimensions) for each call. With `segment` K > 0 only every K-th state is
    kept for the backward pass, which computes the others again: K near sqrt(steps) needs the least memory, for a third more time.
    `ValueError` that names the argument for a wrong type, size, device or number.
    """
    keep = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (drive, weight, bias, gain, state))
    plan = [steps, every, hold, collect, segment, keep]
    inputs = (weight, bias, gain, state, drive, places, _seed(seed), plan, activation, dropout, epsilon)
    if nobody_between(weight, bias, gain, state, drive, places):
        outputs = _Run.apply(*inputs, True) if keep else _forward(*inputs)
    else:
        outputs = torch.ops.quintet.recurrent(*inputs)
    return outputs[0], outputs[1]


def nobody_between(*tensors: Tensor | None) -> bool:
    """Whether plain tensors on the CPU are computed with, and nothing traces, transforms or watches: then the dispatcher has nothing to do.

    It takes a tenth of a millisecond for both passes: as long as a small network.
    """
    watched = torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() or torch._C._functorch.peek_interpreter_stack()
    if watched or torch._C._get_tracing_state():
        return False
    for each in tensors:  # noqa: SIM110 (a generator takes twice as long)
        if each is not None and (type(each) not in _PLAIN or not each.is_cpu):
            return False
    return True


def recurrent_vjp(
    drive: Tensor,
    weight: Tensor,
    bias: Tensor,
    gain: Tensor,
    *,
    steps: int,
    state: Tensor | None,
    places: Tensor | None,
    every: int,
    hold: bool,
    collect: int,
    activation: str,
    dropout: float,
    seed: int | Tensor,
    epsilon: float,
    segment: int,
) -> tuple[Tensor, Tensor, Callable[[Tensor | None, Tensor | None], Outputs]]:
    """`recurrent_run` outside of autograd, whose bookkeeping takes longer than a small network: (final, states, pull).

    pull(gradient of final, gradient of states), None for zero, gives those of (weight, bias, gain, state, drive); a state of None has none.
    """
    inputs = (
        weight,
        bias,
        gain,
        state,
        drive,
        places,
        _seed(seed),
        [steps, every, hold, collect, segment, True],
        activation,
        dropout,
        epsilon,
    )
    near = nobody_between(weight, bias, gain, state, drive, places)
    with torch.no_grad():
        final, states, *kept = _forward(*inputs) if near else _below(*inputs)

    def pull(of_final: Tensor | None, of_states: Tensor | None) -> Outputs:
        with torch.no_grad():
            backward = _backward if near else torch.ops.quintet.recurrent_backward.default
            gradients: Outputs = backward(*inputs, *kept, of_final, of_states)
        return gradients

    return final, states, pull


def _seed(seed: int | Tensor) -> Tensor:
    """As the operation takes it: 64 bits without a sign, in a tensor."""
    if isinstance(seed, int) and seed == 0:
        return _NO_SEED
    return torch.tensor((seed + 2**63) % 2**64 - 2**63) if isinstance(seed, int) else seed


def padded(neurons: int) -> int:
    """Columns of a row of neurons in the kernels' own arrays."""
    width = 16 if neurons < 64 else 64
    return -(-neurons // width) * width


def outputs_of(
    weight: Tensor,
    bias: Tensor,
    gain: Tensor,
    state: Tensor | None,
    drive: Tensor,
    places: Tensor | None,
    seed: Tensor,
    plan: list[int],
    activation: str,
    dropout: float,
    epsilon: float,
) -> Outputs:
    """The tensors that the forward pass fills. Their sizes are those of native/include/quintet/recurrent.hpp."""
    for name, tensor, rank in (("weight", weight, 2), ("bias", bias, 1), ("gain", gain, 1), ("drive", drive, 3), ("seed", seed, 0)):
        if tensor.dim() != rank:
            raise ValueError(f"{name} must have {rank} dimensions, not {tensor.dim()}")
    steps, every, _, collect, segment, keep = plan
    for name, number, least in (("steps", steps, 1), ("every", every, 1), ("collect", collect, 0), ("segment", segment, 0)):
        if number < least:
            raise ValueError(f"{name} must be at least {least}, not {number}")
    batch, neurons = drive.shape[0], weight.shape[0]
    if neurons == 0:
        raise ValueError("weight must have at least one row")
    slots = steps if segment == 0 else (steps - 1) // segment
    size = keep * slots * batch * padded(neurons)
    masks = steps * -(-neurons // 64) * batch if segment == 0 and dropout > 0 and not drive.is_cuda else 0  # CUDA draws them again
    return (
        drive.new_empty(batch, neurons),
        drive.new_empty(batch, steps // collect if collect else 0, neurons),
        drive.new_zeros(size) if neurons < padded(neurons) else drive.new_empty(size),  # the last tile's padding is never written
        drive.new_empty(keep * steps * batch),
        drive.new_empty(keep * masks, dtype=torch.int64),
    )


def gradients_of(weight: Tensor, bias: Tensor, gain: Tensor, state: Tensor | None, drive: Tensor, *_: Any) -> Outputs:
    """The tensors that the backward pass fills."""

    def like(tensor: Tensor) -> Tensor:
        return torch.empty_like(tensor, memory_format=torch.contiguous_format)

    return like(weight), like(bias), like(gain), weight.new_empty(0, weight.shape[0]) if state is None else like(state), like(drive)


torch.library.register_fake("quintet::recurrent", outputs_of)
torch.library.register_fake("quintet::recurrent_backward", gradients_of)


def _dense(*arguments: Any) -> list[Any]:
    return [each.contiguous() if isinstance(each, Tensor) else each for each in arguments]


def numbers_of(seed: Tensor, plan: list[int], activation: str, dropout: float, epsilon: float) -> Any:
    """What is no tensor, for the extension."""
    number = 0 if seed is _NO_SEED else int(seed) % 2**64
    make = _numbers if number == 0 else _numbers.__wrapped__
    return make(*plan[:5], activation, dropout, epsilon, number, torch.get_num_threads())


@functools.lru_cache(maxsize=64)
def _numbers(*numbers: Any) -> Any:
    """Made once for the runs without dropout, which are alike."""
    return native.module().RecurrentNumbers(*numbers)


def _forward(*inputs: Any) -> Outputs:
    outputs = outputs_of(*inputs)
    native.call("recurrent_forward", *_dense(*inputs[:6]), numbers_of(*inputs[6:11]), *outputs, bool(inputs[7][5]))
    return outputs


def _backward(*inputs: Any) -> Outputs:
    gradients = gradients_of(*inputs)
    native.call("recurrent_backward", *_dense(*inputs[:6]), numbers_of(*inputs[6:11]), *_dense(*inputs[11:]), *gradients)
    return gradients


torch.library.impl("quintet::recurrent", "CPU", _forward)
torch.library.impl("quintet::recurrent_backward", "CPU", _backward)


class _Run(torch.autograd.Function):
    """What `torch.library.register_autograd` would make, without its tenth of a millisecond a call: half the time of a small network.

    The last argument says whether nobody is between (see above).
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Outputs:
        *inputs, ctx.near = arguments
        outputs = _forward(*inputs) if ctx.near else _below(*inputs)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*outputs[2:])
        ctx.save_for_backward(*inputs[:7], *outputs[2:])
        ctx.numbers = inputs[7:]
        return outputs

    @staticmethod
    def backward(ctx: Any, final: Tensor | None, states: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        backward = _backward if ctx.near and not torch.is_grad_enabled() else torch.ops.quintet.recurrent_backward
        weight, bias, gain, state, drive = backward(*tensors[:7], *ctx.numbers, *tensors[7:], final, states)
        return weight, bias, gain, None if tensors[3] is None else state, drive, *(None,) * 7


def _below(*inputs: Any) -> Outputs:
    with torch._C._AutoDispatchBelowAutograd():
        outputs: Outputs = torch.ops.quintet.recurrent.default(*inputs)
    return outputs


@torch.library.impl("quintet::recurrent", "Autograd")
def _tracked(*inputs: Any) -> Outputs:
    keep = bool(inputs[7][5])
    outputs: Outputs = _Run.apply(*inputs, False) if keep else _below(*inputs)
    return outputs
