"""What a stopped training of the Pentary library goes on from: a checkpoint an epoch, in the project's store."""

import contextlib
import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline import io
from pipeline.training.checkpoints import Checkpoint, Store

History = dict[str, list[Any]]


class Checkpoints:
    """The checkpoints of one training, told from others by `key` (settings and data)."""

    def __init__(self, folder: Path, key: str) -> None:
        self.store = Store(folder / key[:16])
        self.found: Checkpoint | None = None

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Keep other processes away for the time of a `with` block."""
        return self.store.locked(f"a training of {self.store.folder.parent}")

    def save(self, epoch: int, module: nn.Module, optimizer: torch.optim.Optimizer, teacher: nn.Module | None, history: History) -> None:
        """Keep the state after so many epochs."""
        groups: dict[str, Any] = {"weights": module.state_dict(), "teacher": teacher.state_dict() if teacher else {}}
        groups["optimizer"] = {
            f"{index}.{name}": value for index, state in optimizer.state_dict()["state"].items() for name, value in state.items()
        }
        tensors = {
            f"{group}/{name}": torch.as_tensor(value).detach().contiguous()
            for group, members in groups.items()
            for name, value in members.items()
        }
        self.store.save(epoch, tensors, {"history": history})

    def done(self) -> int:
        """How many epochs the newest whole checkpoint stands for; 0 without one."""
        self.found = self.store.load()
        return self.found.step if self.found else 0

    def restore(self, module: nn.Module, optimizer: torch.optim.Optimizer, teacher: nn.Module | None) -> History:
        """Put the state that `done` found into modules of the same structure; returns the history."""
        if self.found is None:
            raise ValueError("done() has found no checkpoint")
        groups: dict[str, dict[str, Tensor]] = {"weights": {}, "teacher": {}, "optimizer": {}}
        for name, tensor in self.found.tensors.items():
            group, _, rest = name.partition("/")
            groups[group][rest] = tensor
        module.load_state_dict(groups["weights"])
        if teacher is not None:
            teacher.load_state_dict(groups["teacher"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in groups["optimizer"].items():
            index, _, rest = name.partition(".")
            state.setdefault(int(index), {})[rest] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        history: History = self.found.record["history"]
        return history

    def remove(self) -> None:
        """Forget the training: it is done."""
        self.store.remove()


def training_key(settings: Any, *tensors: Tensor) -> str:
    """Names a training by its settings (what JSON can hold) and its data."""
    return io.digest([settings, *(hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest() for tensor in tensors)])
