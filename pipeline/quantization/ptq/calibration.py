"""The inputs that a model's linear maps get: gathered part by part, so that no more than one part's are in memory.

A part is one of a model's `blocks`, or its tail; a model without blocks is one part. Each part is run twice: as it was, on what the float
model's earlier parts returned, and as it is becoming, on what the quantized earlier parts returned. Batches run on two threads.
Shapes: N positions, K columns.
"""

import contextlib
import copy
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from pipeline.models.base import Model

Arguments = tuple[Any, ...]
Inputs = dict[str, Tensor]


class Part(NamedTuple):
    """A part of a model, and the arguments of its next calls, one a batch, in the quantized model and in the float one."""

    module: nn.Module
    original: nn.Module
    """A copy of `module` that stays as it is."""
    arguments: list[Arguments]
    original_arguments: list[Arguments]
    leads_on: bool
    """Whether another part takes what it returns."""

    @property
    def adds_to_stream(self) -> bool:
        """Whether it returns its first argument plus what its last linear map returns."""
        return bool(getattr(self.module, "adds_to_stream", False))


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

    def forward(self, x: Tensor, *rest: Any) -> Tensor:
        return self.model.tail(x)


def parts(model: Model, batches: Sequence[Tensor], begin: Callable[[], None]) -> Iterator[Part]:
    """The parts of `model`; each is to be quantized, and its arguments moved on, before the next is asked for.

    `begin` is called once nothing depends any more on what is quantized before the first part, the embeddings.
    """
    blocks = model.blocks()
    if not blocks:
        original = copy.deepcopy(model)
        begin()
        calls: list[Arguments] = [(tokens,) for tokens in batches]
        yield Part(model, original, calls, calls, False)
        return
    before = [held(*model.enter(tokens)) for tokens in batches]
    begin()
    now = [held(*model.enter(tokens)) for tokens in batches]
    for block in blocks:
        yield Part(block, copy.deepcopy(block), now, before, True)
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    shared = {id(parameter): parameter for module in (*blocks, *embeddings) for parameter in module.parameters()}
    tail = _Tail(model)
    yield Part(tail, copy.deepcopy(tail, shared), now, before, False)


def held(x: Tensor, *rest: Any) -> Arguments:
    """Arguments to keep for a whole calibration: the first one in half precision where that holds its numbers, far finer than digits."""
    half = x.half()
    return (half if bool(half.isfinite().all()) else x, *rest)


def given(arguments: Arguments) -> Arguments:
    """Arguments to call with."""
    x, *rest = arguments
    return (x.float() if x.is_floating_point() else x, *rest)


def groups(part: Part) -> list[Group]:
    """The part's linear maps in the order of their first calls."""
    calls: list[tuple[str, Tensor]] = []

    def note(name: str) -> Any:
        return lambda module, arguments: calls.append((name, arguments[0]))

    x, *rest = given(part.arguments[0])
    handles = [module.register_forward_pre_hook(note(name)) for name, module in linears(part.module).items()]
    part.module(x[:1], *rest)
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


def linears(module: nn.Module) -> dict[str, nn.Linear]:
    """The linear maps within a part, by their names there."""
    return {name: child for name, child in module.named_modules() if isinstance(child, nn.Linear)}


def linear(module: nn.Module, name: str) -> nn.Linear:
    """The linear map of a name within a part."""
    return cast("nn.Linear", module.get_submodule(name))


@contextlib.contextmanager
def watched(module: nn.Module, names: Sequence[str]) -> Iterator[Callable[[Arguments, int], tuple[Inputs, Any]]]:
    """A function that calls the module, from any thread, and returns what its linear maps of these names got, [N, K], and what it returned.

    Its second argument is the number of their calls to end after, with None returned; 0 lets it run to its end.
    """
    own = threading.local()

    def note(name: str) -> Any:
        def notice(module: nn.Module, arguments: Arguments) -> None:
            own.inputs.setdefault(name, []).append(arguments[0].flatten(0, -2))
            own.left -= 1
            if own.left == 0:
                raise _Arrived

        return notice

    def run(arguments: Arguments, calls: int) -> tuple[Inputs, Any]:
        own.inputs, own.left, returned = {}, calls, None
        with contextlib.suppress(_Arrived):
            returned = module(*given(arguments))
        inputs, own.inputs = own.inputs, None
        return {name: torch.cat(found) if len(found) > 1 else found[0] for name, found in inputs.items()}, returned

    handles = [linear(module, name).register_forward_pre_hook(note(name)) for name in names]
    try:
        yield run
    finally:
        for handle in handles:
            handle.remove()
