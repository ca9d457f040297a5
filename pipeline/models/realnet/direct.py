"""A RealNet's output and gradients without torch's autograd, whose bookkeeping takes longer than a small network itself.

Shapes: B rows, S frames, C collected states, N neurons, I input and O output neurons.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.models.realnet.network import RealNet
from pipeline.ops import recurrent_vjp

Pull = Callable[[Tensor], dict[str, Tensor]]
"""Gradient of the output [B, C, O] -> gradients of the parameters, by name."""


def possible(model: RealNet, x: Tensor) -> bool:
    """Whether nothing but the five parameters and the recurrent run stands between input and output, and nobody listens in."""
    heard = model._forward_hooks or model._forward_pre_hooks or model._backward_hooks or model._backward_pre_hooks
    plain = type(model) is RealNet and model.v_in < 0 and model.decoder is None and model._compiled_call_impl is None
    return plain and not heard and not x.requires_grad


def run(
    model: RealNet, x_input: Tensor, steps: int, state: Tensor | None, collect: int | None, segment: int
) -> tuple[Tensor, Tensor, Pull]:
    """Output [B, C, O], final state [B, N], and the way back. The arguments are those of `RealNet.forward`."""
    with torch.no_grad():
        frames_BSI = model.frames(x_input)
        frames_BSI = frames_BSI if frames_BSI.dim() == 3 else frames_BSI[:, None]
        drive_BSI = frames_BSI * model.input_scale
        plan = model.plan(x_input, steps, state, collect, segment)
        final_BN, states_BCN, back = recurrent_vjp(drive_BSI, model.W, model.b, model.gain, **plan)
        shown_BCO = states_BCN[..., model.readers]
        output_BCO = shown_BCO * model.output_scale

    def pull(gradient_BCO: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            of_states_BCN = torch.zeros_like(states_BCN)
            of_states_BCN[..., model.readers] = gradient_BCO * model.output_scale
            W, b, gain, _, of_drive_BSI = back(None, of_states_BCN)
            return {
                "W": W,
                "b": b,
                "gain": gain,
                "input_scale": (of_drive_BSI * frames_BSI).sum((0, 1)),
                "output_scale": (gradient_BCO * shown_BCO).sum((0, 1)),
            }

    return output_BCO, final_BN, pull
