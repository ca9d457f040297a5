"""A model with a recurrent state as a function for graphs: one token of each sequence in, its logits and the next state out.

    tokens [batch, 1], past_X [batch, ...] for each part X of the state -> logits [batch, 1, vocabulary], X [batch, ...]

A text is read by a loop around it, in constant memory. The state's fields name its parts.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from pipeline import models
from pipeline.models.base import Model


class Graph(nn.Module):
    """The function that is exported."""

    def __init__(self, module: Model) -> None:
        super().__init__()
        self.module, self.state = module, type(module.initial_state(1))

    def forward(self, tokens: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        logits, state = self.module(tokens, self.state(*past))
        return logits, *state


def names(module: Model) -> tuple[list[str], list[str]]:
    """Of the inputs and of the outputs."""
    fields = type(module.initial_state(1))._fields
    return ["tokens", *(f"past_{field}" for field in fields)], ["logits", *fields]


def example(module: Model) -> tuple[Tensor, ...]:
    """Inputs to trace with."""
    return torch.zeros(2, 1, dtype=torch.int64), *module.initial_state(2)


def dynamic(module: Model) -> dict[str, Any]:
    """Which axes of the inputs may have any length."""
    batch = Dim("batch")
    return {"tokens": {0: batch}, "past": tuple({0: batch} for _ in module.initial_state(1))}


@contextlib.contextmanager
def graph(module: Model) -> Iterator[Graph]:
    """The function."""
    yield Graph(module).eval()


class Stepped(Model):
    """Such a function in its own runtime, behind the protocol of `pipeline.models`."""

    recurrent = True

    def __init__(self, config: Mapping[str, Any], run: Callable[..., Sequence[Tensor]]) -> None:
        super().__init__()
        self.context, self.run = models.context(config), run
        self.begin: Callable[[int], Any] = models.build(config).initial_state

    def forward(self, tokens_BT: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Logits of one token after another, and the state after the last."""
        state, logits = self.begin(len(tokens_BT)) if state is None else state, []
        for token_B1 in tokens_BT.split(1, 1):
            logits_B1V, *parts = self.run(token_B1.contiguous(), *state)
            logits.append(logits_B1V)
            state = type(state)(*parts)
        return torch.cat(logits, 1), state

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def initial_state(self, batch_size: int, length: int | None = None) -> Any:
        """As the family begins: a matter of the configuration, not of the weights."""
        return self.begin(batch_size)


def exported(config: Mapping[str, Any], run: Callable[..., Sequence[Tensor]]) -> Stepped:
    """A function that maps the inputs to the outputs, as a model."""
    return Stepped(config, run)
