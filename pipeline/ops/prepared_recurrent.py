"""The recurrent run prepared once and made often: fixed sizes, buffers that stay, nothing between the caller and the native call.

`reference_recurrent.recurrent_run` is the definition. Torch takes longer to dispatch one call than a few neurons take to compute.
Shapes: B rows, S frames, I input neurons, N neurons, C collected states.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline.ops import native
from pipeline.ops.recurrent import gradients_of, outputs_of


class Layer(NamedTuple):
    """weight [N, N], bias [N] and gain [N], or their gradients: contiguous float32 on the CPU."""

    weight: Tensor
    bias: Tensor
    gain: Tensor


class PreparedRun:
    """Passes from the zero state, for `batch` = (B, S); the other arguments are those of `recurrent_run`.

    `forward` reads `drive` [B, S, I] and the layer, and fills `states` [B, C, N]. `backward` reads `of_states`, and fills `of_drive`
    and the tensors of `gradients`.
    """

    def __init__(
        self,
        layer: Layer,
        gradients: Layer,
        batch: tuple[int, int],
        places: Tensor,
        *,
        steps: int,
        every: int,
        hold: bool,
        collect: int,
        activation: str,
        dropout: float,
        epsilon: float,
    ) -> None:
        self.drive = torch.zeros(*batch, len(places))
        numbers = (steps, every, hold, collect, 0, activation, dropout, epsilon)
        plan, seed = [steps, every, hold, collect, 0, True], torch.zeros((), dtype=torch.int64)
        final, self.states, *kept = outputs_of(*layer, None, self.drive, places, seed, plan, activation, dropout, epsilon)
        *_, of_state, self.of_drive = gradients_of(*layer, None, self.drive)
        self.of_states = torch.zeros_like(self.states)
        self._module: Any = native.module()
        self._numbers, self._threads = numbers, torch.get_num_threads()
        self._inputs, self._kept = native.handles(*layer, None, self.drive, places), native.handles(*kept)
        self._outputs = native.handles(final, self.states)
        self._gradients = (None, *native.handles(self.of_states, *gradients, of_state, self.of_drive))
        self.forward(0)

    def forward(self, seed: int) -> None:
        """Run with the dropout of a seed from 0 to 2^64 - 1."""
        self._last = self._module.RecurrentNumbers(*self._numbers, seed, self._threads)
        self._module.recurrent_forward(*self._inputs, self._last, *self._outputs, *self._kept, True)

    def backward(self) -> None:
        """The gradients of what `forward` did last."""
        self._module.recurrent_backward(*self._inputs, self._last, *self._kept, *self._gradients)
