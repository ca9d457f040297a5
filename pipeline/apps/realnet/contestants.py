"""RealNet and its baselines of no more parameters, trained alike on a sequence task."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.apps.realnet.sequences import Figures, Task
from pipeline.models.realnet.network import RealNet

ROWS = 32
UNSEEN = 10**6
"""Seed of the rows to judge by: the same for all, and none of training's."""
Maker = Callable[[], nn.Module]


class Layer(nn.Module):
    """One of torch's recurrent layers and a readout. x [B, T, F] -> [B, T, O]."""

    def __init__(self, kind: Callable[..., nn.Module], inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.layer, self.readout = kind(inputs, hidden, batch_first=True), nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.layer(x)[0])


class Whole(nn.Module):
    """No memory: it sees all frames that hold anything at once, and answers at all steps that are asked. No hidden units: linear."""

    def __init__(self, task: Task, hidden: int) -> None:
        super().__init__()
        steps = task.steps or 1
        self.told, self.silent = task.told or steps, steps - 1 if task.at_end else 0
        self.shape, inputs = (steps - self.silent, task.outputs), self.told * task.inputs
        outputs = self.shape[0] * self.shape[1]
        self.net: nn.Module = nn.Linear(inputs, outputs)
        if hidden:
            self.net = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(self.net(x[:, : self.told].flatten(1)).view(len(x), *self.shape), (0, 0, self.silent, 0))


class Run(nn.Module):
    """A RealNet, called as the others are."""

    def __init__(self, net: RealNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net.output(self.net(x, x.shape[1])[0])


def contestants(task: Task) -> dict[str, Maker]:
    """Name -> a maker of a fresh network. Baselines have at most as many parameters as the RealNet, or one hidden unit."""
    n, f, o = task.neurons, task.inputs, task.outputs

    def realnet() -> nn.Module:
        return Run(RealNet(n, range(f), range(n - o, n), bias_init=0.1))

    budget = size(realnet())
    makers = {
        "RealNet": realnet,
        "GRU": largest(lambda hidden: Layer(nn.GRU, f, hidden, o), budget),
        "RNN": largest(lambda hidden: Layer(nn.RNN, f, hidden, o), budget),
    }
    if task.steps is not None:
        makers["MLP"] = largest(lambda hidden: Whole(task, hidden), budget)
        makers["linear"] = lambda: Whole(task, 0)
    return makers


def largest(make: Callable[[int], nn.Module], budget: int) -> Maker:
    """The network of the most hidden units that keeps to a number of parameters."""
    hidden = 1
    while size(make(hidden + 1)) <= budget:
        hidden += 1
    return lambda: make(hidden)


def size(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def compete(task: Task, make: Maker, seed: int) -> tuple[int, Figures]:
    """Train a fresh network and judge it: its parameters, its figures. AdamW under one cycle of learning rates, gradients clipped at 1."""
    torch.manual_seed(seed)
    net, random = make(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=task.learning_rate, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, task.learning_rate, total_steps=task.updates, pct_start=0.1)
    for _ in range(task.updates):
        x, y, weight = task.draw(random, ROWS)
        loss = ((net(x) - y) ** 2 * weight).sum() / weight.sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return size(net), task.judge(net.eval(), torch.Generator().manual_seed(UNSEEN))
