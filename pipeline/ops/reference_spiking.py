"""The definition of the spiking run in plain torch: a loop over steps. The native kernel is tested against it.

Shapes: B streams, T steps, N neurons, K blocks of M neurons.
"""

import math
from typing import Any

import torch
from torch import Tensor

STATE = ("voltage", "adaptation", "spike", "trace", "since")
"""What lies in the rows of a state [5, B, N]; `since` counts the steps since the last spike."""


class Spike(torch.autograd.Function):
    """1 where u > 0 and the neuron is ready, with the derivative height / (1 + (pi u)^2) where it is ready (the ATan surrogate)."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, ready: Tensor, height: float) -> Tensor:
        ctx.save_for_backward(u, ready)
        ctx.height = height
        return ((u > 0) & ready).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        u, ready = ctx.saved_tensors
        return gradient * ready * ctx.height / (1 + (math.pi * u) ** 2), None, None


def dense(weight: Tensor, places: Tensor, neurons: int) -> Tensor:
    """The matrix [N, N] of the blocks [K, M, M] at `places` [K, 2]; blocks at one place add up."""
    size = weight.shape[1]
    matrix = weight.new_zeros(neurons // size, neurons // size, size, size).index_put((places[:, 0], places[:, 1]), weight, accumulate=True)
    return matrix.transpose(1, 2).reshape(neurons, neurons)


def spiking_run(
    drive: Tensor,
    weight: Tensor,
    places: Tensor,
    alpha: Tensor,
    theta: Tensor,
    beta: Tensor,
    state: Tensor,
    *,
    rho: float,
    kappa: float,
    height: float,
    refractory: int,
    reset: str,
) -> tuple[Tensor, Tensor]:
    """Spikes [B, T, N] and the last state [5, B, N] of leaky integrate-and-fire neurons with an adaptive threshold.

    v' = alpha (v - z A) + J + z W,  a' = rho a + (1 - rho) z,  A' = theta + beta a',  z' = 1 if v' > A' and since' > refractory,
    x' = kappa x + z'. With reset "zero" instead of "subtract": alpha v (1 - z). No gradient passes through the reset.
    """
    matrix = dense(weight, places, drive.shape[2])
    v, a, z, x, since = state
    spikes = []
    for t in range(drive.shape[1]):
        fired = z.detach()
        rest = v * (1 - fired) if reset == "zero" else v - (fired * (theta + beta * a)).detach()
        v = alpha * rest + drive[:, t] + z @ matrix
        a = rho * a + (1 - rho) * z
        since = since.detach() + 1
        z = Spike.apply(v - (theta + beta * a), since > refractory, height)
        x = kappa * x + z
        since = torch.where(z > 0, 0.0, since.clamp(max=1e6)).to(v.dtype)
        spikes.append(z)
    return torch.stack(spikes, 1), torch.stack([v, a, z, x, since])
