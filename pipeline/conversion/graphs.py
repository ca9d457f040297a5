"""Models as functions without hidden state, for graphs: what a model remembers is an input and an output. One file for each kind of state.

adapter(config).names(module)             # of the inputs (tokens, then the state) and of the outputs (logits, then the state)
adapter(config).example(module)           # inputs to trace with
adapter(config).dynamic(module)           # which of their axes may have any length
adapter(config).graph(module)             # a `with` block in which the function is an nn.Module
adapter(config).exported(config, run)     # such a function in its own runtime, as a module of `pipeline.models`' protocol
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

from torch import Tensor, nn

from pipeline import models
from pipeline.models.base import Model

Run = Callable[..., Sequence[Tensor]]
"""Maps inputs to outputs."""


class Adapter(Protocol):
    """What each file of a kind of state offers."""

    def names(self, module: Model) -> tuple[list[str], list[str]]: ...

    def example(self, module: Model) -> tuple[Tensor, ...]: ...

    def dynamic(self, module: Model) -> dict[str, Any]: ...

    def graph(self, module: Model) -> AbstractContextManager[nn.Module]: ...

    def exported(self, config: Mapping[str, Any], run: Run) -> Model: ...


def adapter(config: Mapping[str, Any]) -> Adapter:
    """The one for a model's config.json: no state, a recurrent one (a token or a step of thought a call), or a cache that grows."""
    if config["quintet"]["task"] == "classification":
        name = "pulsed" if models.recurrent(config) else "rowwise"
    else:
        name = "stepped" if models.recurrent(config) else "cached"
    return cast("Adapter", importlib.import_module(f"pipeline.conversion.{name}"))
