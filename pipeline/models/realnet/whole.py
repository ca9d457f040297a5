"""From a RealNet's frames to the states that it shows as one node of autograd's graph: scales, the run, and scales again.

`RealNet.forward` by operations one by one is the definition; its half a dozen nodes take longer than a small network.
Shapes: B rows, S frames, I input and O output neurons, C collected states, N neurons.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.ops import recurrent_vjp


class Whole(torch.autograd.Function):
    """(frames [B, S, I], W, b, gain, input_scale, output_scale, state or None, first output neuron, plan) -> states [B, C, N], final."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        frames_BSI, W, b, gain, input_scale, output_scale, state, first, plan = arguments
        final_BN, states_BCN, ctx.pull = recurrent_vjp(frames_BSI * input_scale, W, b, gain, state=state, **plan)
        shown_BCN = states_BCN.clone()
        own = slice(first, first + len(output_scale))
        shown_BCN[..., own] *= output_scale
        ctx.own = own
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*arguments[:7], states_BCN[..., own])
        return shown_BCN, final_BN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_shown: Tensor | None, of_final: Tensor | None) -> tuple[Tensor | None, ...]:
        frames_BSI, _, _, _, input_scale, output_scale, state, own_BCO = ctx.saved_tensors
        of_states, of_output_scale = None, None
        if of_shown is not None:
            of_states = of_shown.clone()
            of_states[..., ctx.own] *= output_scale
            of_output_scale = (of_shown[..., ctx.own] * own_BCO).sum((0, 1))
        W, b, gain, of_state, of_drive = ctx.pull(of_final, of_states)
        of_frames = of_drive * input_scale if ctx.needs_input_grad[0] else None
        of_input_scale = (of_drive * frames_BSI).sum((0, 1))
        return of_frames, W, b, gain, of_input_scale, of_output_scale, None if state is None else of_state, None, None
