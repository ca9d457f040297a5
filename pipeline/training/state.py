"""The state of a training between two steps, and its way into a checkpoint and back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from pipeline import rng
from pipeline.errors import UserError
from pipeline.models.base import Model
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.episodes import Episodes
from pipeline.training.streams import Reader

Optimizers = list[torch.optim.Optimizer]
Tensors = dict[str, Tensor]
Carriers = Mapping[str, Reader | Episodes]
"""What else knows something of earlier steps."""


@dataclass
class Progress:
    """How far a training is. The data position and the schedule are functions of `step`."""

    step: int = 0
    """Optimizer steps done."""
    curve: list[dict[str, Any]] = field(default_factory=list)
    """One row an evaluation: the columns of plots/MODEL/train.csv."""
    best_step: int = 0
    best_score: tuple[float, ...] | None = None
    stale: int = 0
    """Evaluations since the best one."""
    stopped: bool = False
    """Whether patience has ended the training early."""


def weights(module: Model) -> Tensors:
    """A copy of all weights."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def capture(
    module: Model, optimizers: Optimizers, progress: Progress, best: Tensors, loss: Tensor, carriers: Carriers
) -> tuple[Tensors, dict[str, Any]]:
    """What a checkpoint holds: tensors, and the record that goes with them."""
    groups = {
        "weights": module.state_dict(),
        "best": best,
        "rng": rng.capture(),
        "loss": {"sum": loss},
        **{f"carried by {name}": carrier.capture() for name, carrier in carriers.items()},
        "optimizer": {
            f"{i}.{index}.{key}": value
            for i, optimizer in enumerate(optimizers)
            for index, state in optimizer.state_dict()["state"].items()
            for key, value in state.items()
        },
    }
    tensors = {f"{group}/{name}": t.detach().cpu().contiguous() for group, members in groups.items() for name, t in members.items()}
    return tensors, asdict(progress)


def restore(checkpoint: Checkpoint, module: Model, optimizers: Optimizers, carriers: Carriers) -> tuple[Progress, Tensors, Tensor]:
    """Put everything back where `capture` found it; returns progress, best weights and the running sum of the loss.

    Raises `UserError` for a checkpoint of another training.
    """
    try:
        return _restore(checkpoint, module, optimizers, carriers)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{checkpoint.path} is of another training ({error!r}): delete it and start the stage again") from None


def _restore(checkpoint: Checkpoint, module: Model, optimizers: Optimizers, carriers: Carriers) -> tuple[Progress, Tensors, Tensor]:
    groups: dict[str, Tensors] = {"best": {}}
    for name, tensor in checkpoint.tensors.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = tensor
    module.load_state_dict(groups["weights"])
    for i, optimizer in enumerate(optimizers):
        states: dict[int, Tensors] = {}
        for name, tensor in groups["optimizer"].items():
            owner, index, key = name.split(".")
            if int(owner) == i:
                states.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    for name, carrier in carriers.items():
        carrier.restore(groups.get(f"carried by {name}", {}))
    rng.restore(groups["rng"])
    progress = Progress(**checkpoint.record)
    progress.best_score = tuple(progress.best_score) if progress.best_score is not None else None
    best = {name: tensor.to(module.device) for name, tensor in groups["best"].items()}
    return progress, best, groups["loss"]["sum"].to(module.device)
