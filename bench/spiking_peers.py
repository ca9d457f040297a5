"""Recurrent leaky integrate-and-fire neurons as the usual libraries run them: step after step in torch, the coupling one dense matrix.

Where `snntorch` or `spikingjelly` can be imported, the library itself is run; else the loop that its step amounts to, which says so in
its name. Both reset by subtraction and have no adaptation: they do less than ours.
"""

import importlib.util
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

DECAY, THRESHOLD = 0.5, 1.0
Run = Callable[[Tensor, Tensor], Tensor]
"""From the drive [B, T, N] and the coupling [N, N] (row to column) to the spikes [B, T, N]."""


class ATan(torch.autograd.Function):
    """A step with the derivative 1 / (1 + (pi u)^2): snnTorch's default up to a factor, one of SpikingJelly's choices."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        return gradient / (1 + (math.pi * u) ** 2)


class Coupling(torch.nn.Module):
    """spikes -> spikes W."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = matrix

    def forward(self, spikes: Tensor) -> Tensor:
        return spikes @ self.matrix


def as_snntorch(drive: Tensor, coupling: Tensor) -> Tensor:
    """snnTorch's RLeaky: the membrane is reset in the step after its spike."""
    mem, spikes, out = torch.zeros_like(drive[:, 0]), torch.zeros_like(drive[:, 0]), []
    for t in range(drive.shape[1]):
        reset = (mem > THRESHOLD).to(mem.dtype).detach()
        mem = DECAY * mem + drive[:, t] + spikes @ coupling - reset * THRESHOLD
        spikes = ATan.apply(mem - THRESHOLD)
        out.append(spikes)
    return torch.stack(out, 1)


def as_spikingjelly(drive: Tensor, coupling: Tensor) -> Tensor:
    """SpikingJelly's LIFNode in a recurrent container: charge, fire, reset."""
    v, spikes, out = torch.zeros_like(drive[:, 0]), torch.zeros_like(drive[:, 0]), []
    for t in range(drive.shape[1]):
        v = v - v * (1 - DECAY) + drive[:, t] + spikes @ coupling
        spikes = ATan.apply(v - THRESHOLD)
        v = v - spikes.detach() * THRESHOLD
        out.append(spikes)
    return torch.stack(out, 1)


def snntorch(drive: Tensor, coupling: Tensor) -> Tensor:
    """The library's RLeaky with this coupling."""
    from snntorch import RLeaky

    layer = RLeaky(beta=DECAY, threshold=THRESHOLD, all_to_all=True, linear_features=drive.shape[2], reset_mechanism="subtract")
    layer.recurrent = Coupling(coupling)
    mem, spikes, out = torch.zeros_like(drive[:, 0]), torch.zeros_like(drive[:, 0]), []
    for t in range(drive.shape[1]):
        spikes, mem = layer(drive[:, t], spikes, mem)
        out.append(spikes)
    return torch.stack(out, 1)


def spikingjelly(drive: Tensor, coupling: Tensor) -> Tensor:
    """The library's LIFNode in single steps, with this coupling."""
    from spikingjelly.activation_based.neuron import LIFNode

    node = LIFNode(tau=1 / (1 - DECAY), decay_input=False, v_threshold=THRESHOLD, v_reset=None, detach_reset=True)
    spikes, out = torch.zeros_like(drive[:, 0]), []
    for t in range(drive.shape[1]):
        spikes = node(drive[:, t] + spikes @ coupling)
        out.append(spikes)
    return torch.stack(out, 1)


def peers() -> dict[str, Run]:
    """By the name to print."""
    runs: dict[str, Run] = {}
    for name, library, loop in (("snnTorch", snntorch, as_snntorch), ("SpikingJelly", spikingjelly, as_spikingjelly)):
        there = importlib.util.find_spec(name.lower()) is not None
        runs[name if there else f"loop as {name} runs it"] = library if there else loop
    return runs
