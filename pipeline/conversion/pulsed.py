"""A classifier that thinks over time as a function for graphs: one step a call, so that its user decides how long it thinks.

    inputs [batch, features] (`pipeline.data.features`), past_X [batch, ...] for each part X of the state -> logits [batch, 1, classes], X

The first call has the features; those after it have zeros, which are silence.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from pipeline.conversion import rowwise, stepped
from pipeline.models.base import Model


class Graph(nn.Module):
    """The function that is exported."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module, self.state = module, type(module.initial_state(1))

    def forward(self, inputs: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        logits, state = self.module.step(inputs, self.state(*past))
        return logits, *state


def names(module: Model) -> tuple[list[str], list[str]]:
    """Of the inputs and of the outputs."""
    (_, *past), outputs = stepped.names(module)
    return ["inputs", *past], outputs


def example(module: Model) -> tuple[Tensor, ...]:
    """Inputs to trace with."""
    return *rowwise.example(module), *module.initial_state(2)


def dynamic(module: Model) -> dict[str, Any]:
    """Which axes of the inputs may have any length."""
    batch = Dim("batch")
    return {"inputs": {0: batch}, "past": tuple({0: batch} for _ in module.initial_state(1))}


def graph(module: Model) -> AbstractContextManager[Graph]:
    """The function."""
    return nullcontext(Graph(module).eval())


class Pulsed(stepped.Stepped):
    """Such a function in its own runtime: called as often as the model was made to think."""

    context = 1

    def __init__(self, config: Mapping[str, Any], run: Callable[..., Sequence[Tensor]]) -> None:
        super().__init__(config, run)
        self.steps = config["think_steps"] + 1

    def forward(self, inputs_BF: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Logits after the last step, and the state there."""
        state, logits_B1C = self.begin(len(inputs_BF)) if state is None else state, inputs_BF
        for step in range(self.steps):
            logits_B1C, *parts = self.run(inputs_BF if step == 0 else torch.zeros_like(inputs_BF), *state)
            state = type(state)(*parts)
        return logits_B1C, state


def exported(config: Mapping[str, Any], run: Callable[..., Sequence[Tensor]]) -> Pulsed:
    """A function that maps the inputs to the outputs, as a model."""
    return Pulsed(config, run)
