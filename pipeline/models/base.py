"""What every family's module has in common."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Grown(NamedTuple):
    """Where the numbers of a model that grew lie in it now."""

    parameters: Mapping[str, tuple[Tensor | None, ...]]
    """Name -> places of the old numbers along each axis, None for an axis that did not grow."""
    state: Tensor
    """The same for the last axis of each part of the state."""
    size: int
    """Length of that axis now."""


def spread(tensor: Tensor, places: tuple[Tensor | None, ...], shape: tuple[int, ...]) -> Tensor:
    """Zeros of a larger shape, with the tensor's numbers at their `places` along each axis (as in `Grown`)."""
    larger, found = tensor.new_zeros(shape), tensor.detach()
    axes = [torch.arange(size) if kept is None else kept for kept, size in zip(places, found.shape, strict=True)]
    larger[torch.meshgrid(*axes, indexing="ij")] = found
    return larger


class Weights(nn.Module):
    """A module whose matrices can be quantized."""

    def quantizable(self) -> dict[str, nn.Parameter]:
        """Every matrix by name, of linears, embeddings and convolutions (kernels [O, C, h, w] are O rows), tied ones once."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.dim() in (2, 4)}

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def parameter_count(self) -> int:
        """Number of weights, tied ones once."""
        return sum(parameter.numel() for parameter in self.parameters())


class Model(Weights):
    """The protocol of `pipeline.models`: a family's module derives from this and brings `forward` and `initial_state`."""

    config: dict[str, Any]
    """The directory's config.json."""
    context: int
    """The most tokens it can see at once."""
    recurrent: bool = False
    """Whether its state has a fixed size, a NamedTuple of tensors with the batch as their first axis, so that there is no last token."""
    penalty: Tensor | None = None
    """A loss beside the task's (a scalar), which a module in training mode may leave here in `forward`."""
    __call__: Callable[..., tuple[Tensor, Any]]
    """`logits_BTV, state = module(tokens_BT, state)`."""

    def initial_state(self, batch_size: int, length: int | None = None) -> Any:
        """The state before the first of at most `length` tokens (`context` by default)."""
        raise NotImplementedError

    def statistics(self) -> dict[str, float]:
        """What a person may want to see of the last call in training mode beside its loss, by name: it goes into the event log."""
        return {}

    def blocks(self) -> list[nn.Module]:
        """Modules that work one after another, each on what the one before it returned; `tail` makes logits of the last's.

        They share the model's parameters. One whose attribute `adds_to_stream` is true returns its first argument plus what its last
        linear map returns.
        """
        return []

    def enter(self, tokens: Tensor) -> tuple[Any, ...]:
        """What the first of `blocks` is called with; the others take what was returned in place of the first argument."""
        raise NotImplementedError

    def tail(self, x: Tensor) -> Tensor:
        """Logits of what the last of `blocks` returned."""
        raise NotImplementedError

    def grow(self, amount: int, generator: torch.Generator) -> Grown:
        """Add `amount` neurons without changing what is computed, by new parameters in the place of those that grow."""
        raise NotImplementedError

    def rebased(self, basis: Callable[[str, int], Tensor]) -> "Model":
        """A model that computes the same on other axes: orthogonal matrices `basis(name, channels)`; this one if the family has no such."""
        return self

    def hidden_matrices(self) -> dict[str, nn.Parameter]:
        """The matrices between embedding and output, which an optimizer may treat as maps from vectors to vectors."""
        edges = [module for name, module in self.named_modules() if isinstance(module, nn.Embedding) or name == "lm_head"]
        outer = {id(parameter) for module in edges for parameter in module.parameters()}
        return {name: matrix for name, matrix in self.quantizable().items() if id(matrix) not in outer}


def runs_fused(linear: nn.Module) -> bool:
    """Whether a whole run over time may take a recurrent layer's `weight`, instead of calling the layer step by step.

    It may not where the matrix is packed, where somebody watches or rounds what the layer gets, and where a graph is traced.
    """
    return isinstance(linear, nn.Linear) and not linear._forward_pre_hooks and not torch.compiler.is_exporting()
