"""A classifier as a function for graphs: it has no state, each row of its inputs stands for itself.

inputs [batch, features] (`pipeline.data.features`) -> logits [batch, 1, classes]
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from pipeline.data import features
from pipeline.models.base import Model


class Graph(nn.Module):
    """The function that is exported."""

    def __init__(self, module: Model) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> tuple[Tensor]:
        return (self.module(inputs)[0],)


def names(module: Model) -> tuple[list[str], list[str]]:
    """Of the input and of the output."""
    return ["inputs"], ["logits"]


def example(module: Model) -> tuple[Tensor, ...]:
    """Inputs to trace with."""
    return (torch.zeros(2, features.width(features.layout(module.config["quintet"]))),)


def dynamic(module: Model) -> dict[str, dict[int, Dim]]:
    """Which axes of the inputs may have any length."""
    return {"inputs": {0: Dim("batch")}}


@contextlib.contextmanager
def graph(module: Model) -> Iterator[Graph]:
    """The function."""
    yield Graph(module).eval()


class Rowwise(Model):
    """Such a function in its own runtime, behind the protocol of `pipeline.models`."""

    context = 1

    def __init__(self, run: Callable[..., Sequence[Tensor]]) -> None:
        super().__init__()
        self.run = run

    def forward(self, inputs_BF: Tensor, state: None = None) -> tuple[Tensor, None]:
        (logits_B1C,) = self.run(inputs_BF)
        return logits_B1C, None

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def initial_state(self, batch_size: int, length: int | None = None) -> None:
        """There is none."""


def exported(config: Mapping[str, Any], run: Callable[..., Sequence[Tensor]]) -> Rowwise:
    """A function that maps the input to the output, as a model."""
    return Rowwise(run)
