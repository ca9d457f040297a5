"""Rotary positions on half-split channels (Su et al. 2021, arXiv:2104.09864). Shapes: B sequences, T tokens, H heads, K channels a head."""

import torch
from torch import Tensor


def rotary_tables(positions: int, head_dim: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines [positions, 1, head_dim] of the angles p * base^(-2i / head_dim), each angle for both halves."""
    frequency = 1.0 / base ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angle = torch.outer(torch.arange(positions, dtype=torch.float32), frequency)
    angle = torch.cat((angle, angle), -1)[:, None, :]
    return angle.cos(), angle.sin()


def rotate(x_BTHK: Tensor, cosine_T1K: Tensor, sine_T1K: Tensor) -> Tensor:
    """Rotary positions: channel i turns together with channel i + K/2."""
    first, second = x_BTHK.chunk(2, -1)
    return x_BTHK * cosine_T1K + torch.cat((-second, first), -1) * sine_T1K
