"""The definition of a phase of spiking neurons in plain torch. The native kernel is tested against it.

Shapes: B rows, N neurons.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-5


class Spike(torch.autograd.Function):
    """1 where u > 0, with the derivative height / (1 + (pi u)^2) (the ATan surrogate: Fang et al. 2021)."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, height: float) -> Tensor:
        ctx.save_for_backward(u)
        ctx.height = height
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (u,) = ctx.saved_tensors
        return gradient * ctx.height / (1 + (math.pi * u) ** 2), None


def spikes(u: Tensor, height: float, smooth: bool = False) -> Tensor:
    """1 where u > 0, or its smooth stand-in, 1/2 + h atan(pi u) / pi, whose derivative is the surrogate."""
    if smooth:
        return 0.5 + height * torch.atan(math.pi * u) / math.pi
    fired: Tensor = Spike.apply(u, height) if torch.is_grad_enabled() else (u > 0).to(u.dtype)
    return fired


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
    steps: int,
    rho: float,
    beta: float,
    height: float,
    smooth: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean spikes over `steps` internal steps, and the voltage and adaptation after the last, all [B, N].

    I = (g LayerNorm(x) + b) m,  v = a w + c I,  z = 1 if v > A = 1 + beta s else 0,  w' = v - z A,  s' = rho s + (1 - rho) z.
    No gradient passes through reset and adaptation. With `smooth` it is another function, for checks by differences: smooth spikes, and
    nothing held back.
    """
    drive = charge * (F.layer_norm(current, current.shape[-1:], gain, bias, EPSILON) * modulation)
    total: Tensor | None = None
    for _ in range(steps):
        v = decay * voltage + drive
        threshold = 1 + beta * adaptation
        z = spikes(v - threshold, height, smooth)
        fired = z if smooth else z.detach()
        voltage, adaptation = v - fired * threshold, rho * adaptation + (1 - rho) * fired
        total = z if total is None else total + z
    assert total is not None
    return total / steps, voltage, adaptation
