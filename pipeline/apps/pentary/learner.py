"""Steps and epochs of plain torch: an optimizer, its falling rate, and a teacher if there is one."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Loss = Callable[[Tensor, Any], Tensor]
Figures = tuple[float, float]
"""Mean loss and share of right answers."""
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "momentum": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9, nesterov=True),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}
LOWEST = 0.01
"""The learning rate of a phase's last step, as a share of its first."""
CHUNK = 1024
"""Rows that are judged at a time."""


class Learner:
    """Moves a module's weights. `distillation` is the share of the loss that is the divergence from the `teacher`'s outputs."""

    def __init__(self, module: nn.Module, loss_fn: Loss, build: Callable[..., torch.optim.Optimizer], rate: float, share: float) -> None:
        self.module, self.loss_fn, self.build, self.rate, self.share = module, loss_fn, build, rate, share
        self.teacher: nn.Module | None = None
        self.restart()

    def restart(self) -> None:
        """A new optimizer, for parameters that are others than before."""
        self.optimizer = self.build(self.module.parameters(), lr=self.rate)

    def epoch(self, x: Tensor, y: Tensor, batches: Sequence[Tensor], begun: float, share: float) -> Figures:
        """One step for each batch of rows; the epoch takes the phase from the share `begun` of its time to `begun + share`."""
        total, right = torch.zeros(()), torch.zeros(())
        for i, rows in enumerate(batches):
            done = begun + share * i / len(batches)
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate * (LOWEST + (1 - LOWEST) * (1 + math.cos(math.pi * done)) / 2)
            loss, correct = self.step(x[rows], y[rows])
            total += loss * len(rows)
            right += correct
        return float(total) / len(x), float(right) / len(x)

    def step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """One step; returns the loss, and how many of the outputs before it were right."""
        self.module.train()
        outputs = self.module(x)
        loss = self.loss_fn(outputs, y)
        if self.teacher is not None:
            with torch.no_grad():
                wanted = self.teacher(x).log_softmax(-1)
            divergence = F.kl_div(outputs.log_softmax(-1), wanted, log_target=True, reduction="batchmean")
            loss = (1 - self.share) * loss + self.share * divergence
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach(), right(outputs.detach(), y)


@torch.no_grad()
def judge(module: nn.Module, loss_fn: Loss, x: Tensor, y: Tensor) -> Figures:
    """Loss and accuracy of a module as it computes now."""
    module.eval()
    outputs = torch.cat([module(part) for part in x.split(CHUNK)])
    return float(loss_fn(outputs, y)), float(right(outputs, y)) / len(y)


def right(outputs: Tensor, targets: Tensor) -> Tensor:
    """How many rows have their largest output where the target has (class numbers [B], or rows)."""
    classes = targets if targets.dim() == 1 else targets.argmax(-1)
    return (outputs.argmax(-1) == classes).sum()
