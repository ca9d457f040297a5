"""Models that read on from step to step: the state that a recurrent one had at the end of a step's windows goes into the next step."""

from collections import deque
from typing import Any

from torch import Tensor

from pipeline.models.base import Grown, Model, spread


class Reader:
    """A module called with the micro-batches of a training, one after another.

    Where `carry`, each call begins with the state in which the call `accumulation` calls before it ended, without its history: as the
    sampler's streams do. So the gradient stays within a window (truncated backpropagation through time).
    """

    def __init__(self, module: Model, accumulation: int, carry: bool) -> None:
        self.module, self.carry = module, carry
        self.states: deque[Any] = deque([None] * accumulation)

    def __call__(self, tokens_BT: Tensor) -> Tensor:
        """Logits [B, T, V]."""
        if not self.carry:
            return self.module(tokens_BT)[0]
        logits, state = self.module(tokens_BT, self.states.popleft())
        self.states.append(type(state)(*(part.detach() for part in state)))
        return logits

    def grow(self, grown: Grown) -> None:
        """Go on with states of a module that grew: its new neurons are silent."""
        known = [state for state in self.states if state is not None]
        wider = [type(state)(*(spread(part, (None, grown.state), (len(part), grown.size)) for part in state)) for state in known]
        self.states = deque(wider or self.states)

    def capture(self) -> dict[str, Tensor]:
        """The carried states, for a checkpoint between two steps."""
        known = [state for state in self.states if state is not None]
        return {f"{i}.{name}": part for i, state in enumerate(known) for name, part in zip(state._fields, state, strict=True)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `capture` gave."""
        if tensors:
            kind, device = type(self.module.initial_state(1)), self.module.device
            states = ({field: tensors[f"{i}.{field}"].to(device) for field in kind._fields} for i in range(len(self.states)))
            self.states = deque(kind(**state) for state in states)
