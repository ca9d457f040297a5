"""The transformer as a function without hidden state, for graphs: its key and value cache are inputs and outputs.

    tokens [batch, sequence], past_keys and past_values [layers, batch, heads, past, channels]
        -> logits [batch, sequence, vocabulary], keys and values [layers, batch, heads, past + sequence, channels]

`past` may be 0. An exporter takes an axis of length 1 for a constant, so the examples are longer.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from pipeline.models.base import Model
from pipeline.models.transformer import Transformer

State = tuple[Tensor, Tensor]


class GrowingCache:
    """The transformer's cache for tracing: tensors that grow by concatenation, where its own writes in place."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = list(keys), list(values)
        self.used, self.room = keys.shape[3], 1 << 62

    def extend(self, layer: int, k_BHTK: Tensor, v_BHTK: Tensor) -> tuple[Tensor, Tensor]:
        self.keys[layer] = torch.cat((self.keys[layer], k_BHTK), 2)
        self.values[layer] = torch.cat((self.values[layer], v_BHTK), 2)
        return self.keys[layer], self.values[layer]


class Graph(nn.Module):
    """The function that is exported."""

    def __init__(self, module: Model) -> None:
        super().__init__()
        self.module = module

    def forward(self, tokens: Tensor, past_keys: Tensor, past_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        cache = GrowingCache(past_keys, past_values)
        logits, _ = self.module(tokens, cache)
        return logits, torch.stack(cache.keys), torch.stack(cache.values)


def names(module: Model) -> tuple[list[str], list[str]]:
    """Of the inputs and of the outputs."""
    return ["tokens", "past_keys", "past_values"], ["logits", "keys", "values"]


def example(module: Model) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs to trace with."""
    past = torch.zeros(shape(module.config, batch=2, length=3))
    return torch.zeros(2, 4, dtype=torch.int64), past, past.clone()


def shape(config: Mapping[str, Any], batch: int, length: int) -> tuple[int, ...]:
    """Of the cache's keys, and of its values."""
    return config["num_hidden_layers"], batch, config["num_key_value_heads"], length, config["head_dim"]


def dynamic(module: Model) -> dict[str, dict[int, Dim]]:
    """Which axes of the inputs may have any length."""
    batch, sequence, past = Dim("batch"), Dim("sequence", max=module.context), Dim("past", max=module.context)
    return {"tokens": {0: batch, 1: sequence}, "past_keys": {1: batch, 3: past}, "past_values": {1: batch, 3: past}}


@contextlib.contextmanager
def graph(module: Model) -> Iterator[Graph]:
    """The function, free of relations between two axes, which exporters refuse: positions unchecked, and angles by index, not by slice."""
    assert isinstance(module, Transformer)  # the one family that the schema lets through
    cosine, sine = module.cosine, module.sine

    def angles(past: int, new: int) -> tuple[Tensor, Tensor]:
        positions = torch.arange(past, past + new)
        return cosine[positions], sine[positions]

    context = module.context
    module.context, module.angles = 1 << 62, angles  # type: ignore[method-assign]
    try:
        yield Graph(module).eval()
    finally:
        module.context = context
        del module.angles


class Exported(Model):
    """Such a function in its own runtime, behind the protocol of `pipeline.models`; the state is the pair of cache tensors."""

    def __init__(self, context: int, empty: Sequence[int], run: Callable[..., Sequence[Tensor]]) -> None:
        """`empty` is the cache's shape, of which the batch is replaced; `run` maps the three inputs to the three outputs."""
        super().__init__()
        self.context, self.empty, self.run = context, empty, run

    def forward(self, tokens_BT: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits and the grown state; `ValueError` where positions run past the context, for which the graph has no rotation."""
        past = state or self.initial_state(len(tokens_BT))
        if past[0].shape[3] + tokens_BT.shape[1] > self.context:
            raise ValueError(f"{past[0].shape[3]} + {tokens_BT.shape[1]} tokens do not fit the context ({self.context})")
        logits, keys, values = self.run(tokens_BT, *past)
        return logits, (keys, values)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def initial_state(self, batch_size: int, length: int | None = None) -> State:
        """A past of no tokens; it grows, so `length` is not needed."""
        layers, _, heads, _, channels = self.empty
        past = torch.zeros(layers, batch_size, heads, 0, channels)
        return past, past


def exported(config: Mapping[str, Any], run: Callable[..., Sequence[Tensor]]) -> Exported:
    """A function that maps the inputs to the outputs, as a model."""
    return Exported(int(config["max_position_embeddings"]), shape(config, 1, 0), run)
