"""The inputs that a model's linear maps get: gathered part by part, so that no more than one part's are in memory.

A part is one of a model's `blocks`, or its tail; a model without blocks is one part. Each part is run twice: as it was, on what the float
model's earlier parts returned, and as it is becoming, on what the quantized earlier parts returned.
Shapes: N positions, K columns.
"""

import contextlib
import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from pipeline.models.base import Model

Arguments = tuple[Any, ...]


class Part(NamedTuple):
    """A part of a model, and the arguments of its calls, one a batch, in the float model and in the quantized one."""

    module: nn.Module
    original: nn.Module
    """A copy of `module` that stays as it is."""
    arguments: list[Arguments]
    original_arguments: list[Arguments]


class Group(NamedTuple):
    """Linear maps of a part that get one and the same input, in each of their `calls`."""

    names: list[str]
    calls: int


class _Arrived(Exception):
    """Ends a run once what it was made for is known."""


class _Tail(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.tail(x)


def parts(model: Model, original: Model, batches: Sequence[Tensor]) -> Iterator[Part]:
    """The parts of `model`, whose embeddings are quantized already; each is to be quantized before the next is asked for.

    `original` is the model with its own embeddings; it may share all else with `model`, and serves for the first part's arguments only.
    """
    blocks = model.blocks()
    if not blocks:
        calls: list[Arguments] = [(tokens,) for tokens in batches]
        yield Part(model, original, calls, calls)
        return
    now, before = ([_arguments(one, tokens) for tokens in batches] for one in (model, original))
    for block in blocks:
        frozen = copy.deepcopy(block)
        yield Part(block, frozen, now, before)
        for module, arguments in ((block, now), (frozen, before)):
            for i, (_, *rest) in enumerate(arguments):
                arguments[i] = (module(*arguments[i]), *rest)
    tail = _Tail(model)
    shared = {id(block): block for block in blocks}
    yield Part(tail, copy.deepcopy(tail, shared), [(x,) for x, *_ in now], [(x,) for x, *_ in before])


def _arguments(model: Model, tokens: Tensor) -> Arguments:
    """What the first block is called with."""
    found: list[Arguments] = []

    def note(module: nn.Module, arguments: Arguments) -> None:
        found.append(arguments)
        raise _Arrived

    handle = model.blocks()[0].register_forward_pre_hook(note)
    with contextlib.suppress(_Arrived):
        model(tokens)
    handle.remove()
    return found[0]


def groups(part: Part) -> list[Group]:
    """The part's linear maps in the order of their first calls."""
    calls: list[tuple[str, Tensor]] = []

    def note(name: str) -> Any:
        return lambda module, arguments: calls.append((name, arguments[0]))

    linears = {name: module for name, module in part.module.named_modules() if isinstance(module, nn.Linear)}
    handles = [module.register_forward_pre_hook(note(name)) for name, module in linears.items()]
    part.module(*part.arguments[0])
    for handle in handles:
        handle.remove()
    times = Counter(name for name, _ in calls)
    found: list[tuple[Tensor, Group]] = []
    for name, x in calls:
        if any(name in group.names for _, group in found):
            continue
        same = [group.names for other, group in found if other is x]
        if same:
            same[0].append(name)
        else:
            found.append((x, Group([name], times[name])))
    return [group for _, group in found]


def linear(module: nn.Module, name: str) -> nn.Linear:
    """The linear map of a name within a part."""
    return cast("nn.Linear", module.get_submodule(name))


def inputs(part: Part, group: Group, batch: int) -> tuple[Tensor, Tensor]:
    """What the linear maps of a group get in one batch, [N, K] each: in the quantized model, and in the float one."""
    return _input(part.module, group, part.arguments[batch]), _input(part.original, group, part.original_arguments[batch])


def _input(module: nn.Module, group: Group, arguments: Arguments) -> Tensor:
    found: list[Tensor] = []

    def note(module: nn.Module, given: Arguments) -> None:
        found.append(given[0])
        if len(found) == group.calls:
            raise _Arrived

    handle = linear(module, group.names[0]).register_forward_pre_hook(note)
    with contextlib.suppress(_Arrived):
        module(*arguments)
    handle.remove()
    return torch.cat([x.flatten(0, -2) for x in found])
