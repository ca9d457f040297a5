"""Growth (`training.growth`): more neurons amid a training, which computes the same and keeps what its optimizers remember."""

from typing import Any

import torch
from torch import Tensor

from pipeline.models.base import Model, spread
from pipeline.training.streams import Reader

Optimizers = list[torch.optim.Optimizer]


def grow(module: Model, optimizers: Optimizers, reader: Reader, amount: int, generator: torch.Generator) -> None:
    """Add `amount` neurons to a module; the new parameters take the place of the old ones everywhere."""
    before = dict(module.named_parameters())
    grown = module.grow(amount, generator)
    for name, places in grown.parameters.items():
        for optimizer in optimizers:
            _migrate(optimizer, before[name], module.get_parameter(name), places)
    reader.grow(grown)


def _migrate(optimizer: torch.optim.Optimizer, before: Tensor, after: Tensor, places: tuple[Tensor | None, ...]) -> None:
    """Put a parameter in the place of an old one in every group, and of every moment: zero where the parameter is new."""
    for group in optimizer.param_groups:
        group["params"] = [after if parameter is before else parameter for parameter in group["params"]]
    held = optimizer.state.pop(before, None)
    if held is not None:
        optimizer.state[after] = {key: _moment(value, before, after, places) for key, value in held.items()}


def _moment(held: Any, before: Tensor, after: Tensor, places: tuple[Tensor | None, ...]) -> Any:
    """Of the old parameter's shape, or of a batch of such (Muon's); anything else stays as it is."""
    extra = held.dim() - before.dim() if isinstance(held, Tensor) else -1
    if extra < 0 or held.shape[extra:] != before.shape:
        return held
    batch = held.shape[:extra]
    return spread(held, (*(None for _ in batch), *places), (*batch, *after.shape))
