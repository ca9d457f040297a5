"""The definition of the recurrent run in plain torch: a loop over steps. The native kernel is tested against it.

Shapes: B rows (batch), N neurons, T steps, S frames of input, I neurons that receive input, C collected states.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

ACTIVATIONS = {
    "identity": lambda x: x,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "silu": F.silu,
}

EPSILON = torch.finfo(torch.float32).eps


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
    seed: int = 0,
    epsilon: float = EPSILON,
) -> tuple[Tensor, Tensor]:
    """h' = gain * RMSNorm(dropout(act(h W + b + I_t))) for `steps` steps from `state` [B, N] -> final state, states collected [B, C, N].

    weight [N, N], bias and gain [N]. Frame k of the input `drive` [B, S, I] is added at step k * every to the neurons `places` (all, if
    None); with `hold` also at the steps until the next frame. The states after steps collect, 2 collect, ... are collected (none if
    collect is 0).
    """
    batch, neurons = drive.shape[0], weight.shape[0]
    h_BN = weight.new_zeros(batch, neurons) if state is None else state
    places_I = torch.arange(neurons) if places is None else places
    states = []
    for t in range(steps):
        s_BN = h_BN @ weight + bias
        frame = min(t // every, drive.shape[1] - 1)
        if frame >= 0 and (hold or t == frame * every):
            s_BN = s_BN.index_add(1, places_I, drive[:, frame])
        d_BN = ACTIVATIONS[activation](s_BN)
        if dropout > 0:
            d_BN = d_BN * dropout_mask(seed, t, batch, neurons, dropout) / (1 - dropout)
        h_BN = F.rms_norm(d_BN, (neurons,), gain, epsilon)
        if collect and (t + 1) % collect == 0:
            states.append(h_BN)
    return h_BN, torch.stack(states, 1) if states else h_BN.new_empty(batch, 0, neurons)


def dropout_mask(seed: int, step: int, rows: int, columns: int, probability: float) -> Tensor:
    """What dropout keeps, bool [rows, columns]: where a random 32-bit word is at least probability x 2^32.

    Column 64 i + 16 j + l of row b takes word j of the Philox counter (16 i + l, b, step, 0) under the key `seed` (64 bits).
    """
    counter_BN = torch.arange(columns) // 64 * 16 + torch.arange(columns) % 16
    row_BN = torch.arange(rows)[:, None].expand(rows, columns)
    words = philox(counter_BN.expand(rows, columns), row_BN, torch.full((rows, columns), step), seed)
    word_BN = torch.stack(words).gather(0, (torch.arange(columns) % 64 // 16).expand(1, rows, columns))[0]
    return word_BN >= min(round(probability * 2**32), 2**32 - 1)


def philox(c0: Tensor, c1: Tensor, c2: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four words of Philox4x32-10 for the counters (c0, c1, c2, 0), as int64 (Salmon et al., SC 2011)."""
    key0, key1, low = seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF, 0xFFFFFFFF
    c3 = torch.zeros_like(c0)
    for _ in range(10):
        high0, low0 = _multiply(c0, 0xD2511F53)
        high1, low1 = _multiply(c2, 0xCD9E8D57)
        c0, c1, c2, c3 = high1 ^ c1 ^ key0, low1, high0 ^ c3 ^ key1, low0
        key0, key1 = key0 + 0x9E3779B9 & low, key1 + 0xBB67AE85 & low
    return c0, c1, c2, c3


def _multiply(a: Tensor, b: int) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of a b, for numbers of 32 bits in int64: by halves of b, since the product has 64 bits."""
    upper, lower = a * (b >> 16), a * (b & 0xFFFF)
    middle = upper + (lower >> 16)
    return middle >> 16, (middle & 0xFFFF) << 16 | lower & 0xFFFF
