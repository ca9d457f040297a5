"""scikit-learn's digits: a RealNet that answers after any number of steps, beside baselines, all on the same varied images."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from pipeline.apps.realnet import anytime
from pipeline.apps.realnet.contestants import Layer, Maker, Run, largest, size
from pipeline.apps.realnet.sequences import Figures
from pipeline.apps.realnet.trainer import RealNetTrainer
from pipeline.models.realnet.network import RealNet

GOAL = "0.975, within 0.01 from 5 to 60 steps"
NEURONS, EPOCHS, ROWS, RATE = 74, 120, 32, 3e-3
TURN, STRETCH, MOVE, NOISE = 0.15, 0.1, 0.08, 0.15
"""What training does to images, at most: radians, share of the size, share of half the width; and the deviation of its pixels' noise."""
STEPS = (5, 30)
"""Each update of the RealNet draws a number of steps from these; every step from the first of them on is asked."""
MOST = 60
TEST_ROWS = 360
SURE = 0.9
"""Confidence at which a RealNet may halt."""


@dataclass(frozen=True)
class Split:
    """Pixels [rows, 64] from 0 to 1 and digits [rows] to train on; pixels less the `mean` [64] of these, and digits, to test on."""

    x: Tensor
    y: Tensor
    mean: Tensor
    test_x: Tensor
    test_y: Tensor


@cache
def split() -> Split:
    """1,437 rows to train on, 360 to test on: the same for every seed."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(images / 16).float()[order], torch.tensor(labels)[order]
    mean = x[TEST_ROWS:].mean(0)
    return Split(x[TEST_ROWS:], y[TEST_ROWS:], mean, x[:TEST_ROWS] - mean, y[:TEST_ROWS])


def varied(x: Tensor) -> Tensor:
    """Images [B, 64], each turned, stretched and moved a little, with noise."""
    turn, stretch, across, down = ((2 * torch.rand(4, len(x)) - 1) * torch.tensor([TURN, STRETCH, MOVE, MOVE])[:, None]).unbind()
    cos, sin = (1 + stretch) * turn.cos(), (1 + stretch) * turn.sin()
    maps = torch.stack([torch.stack([cos, -sin, across], 1), torch.stack([sin, cos, down], 1)], 1)
    grid = nn.functional.affine_grid(maps, [len(x), 1, 8, 8], align_corners=False)
    moved = nn.functional.grid_sample(x.view(-1, 1, 8, 8), grid, align_corners=False).flatten(1)
    return moved + NOISE * torch.randn_like(moved)


def realnet(seed: int) -> tuple[int, Figures, list[float]]:
    """Train with varied steps and a loss at each: parameters, figures, and accuracy after 1, 2, ... steps."""
    torch.manual_seed(seed)
    data, model = split(), RealNet(NEURONS, range(64), range(64, NEURONS))
    trainer = RealNetTrainer(model, loss_fn=nn.CrossEntropyLoss(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(trainer.optimizer, RATE, total_steps=EPOCHS, pct_start=0.1)
    skipped = STEPS[0] - 1
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(data.x)).split(ROWS):
            steps = int(torch.randint(STEPS[0], STEPS[1] + 1, ()))
            answers = data.y[rows].repeat_interleave(steps - skipped)
            images = varied(data.x[rows]) - data.mean
            trainer.train_batch(images, answers, steps, full_sequence=True, output_transform=lambda out: out[:, skipped:].flatten(0, 1))
        schedule.step()
    curve = anytime.accuracy_by_steps(model, data.test_x, data.test_y, MOST)
    asked = curve[skipped:]
    answers, taken = anytime.think(model, data.test_x, MOST, SURE, STEPS[0])
    halted = float((answers.argmax(1) == data.test_y).float().mean())
    figures = {"accuracy": curve[STEPS[1] - 1], "least from 5 to 60 steps": min(asked), "most": max(asked)}
    return size(model), {**figures, "halting at 0.9": halted, "its steps": float(taken.float().mean())}, curve


def baseline(make: Maker, seed: int) -> tuple[int, Figures]:
    """A torch network on the same rows by the same schedule."""
    torch.manual_seed(seed)
    data, net = split(), make()
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS, pct_start=0.1)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(data.x)).split(ROWS):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(varied(data.x[rows]) - data.mean), data.y[rows]).backward()
            optimizer.step()
        schedule.step()
    with torch.no_grad():
        return size(net), {"accuracy": float((net.eval()(data.test_x).argmax(1) == data.test_y).float().mean())}


def logistic_regression() -> tuple[int, Figures]:
    """scikit-learn's, on the images as they are."""
    data = split()
    fitted = LogisticRegression(max_iter=1000).fit((data.x - data.mean).numpy(), data.y.numpy())
    return fitted.coef_.size + fitted.intercept_.size, {"accuracy": float(fitted.score(data.test_x.numpy(), data.test_y.numpy()))}


def makers() -> dict[str, Maker]:
    """Networks of no more parameters than the RealNet: recurrent ones read the eight rows of an image one after the other."""
    budget = size(Run(RealNet(NEURONS, range(64), range(64, NEURONS))))

    def by_rows(kind: Callable[..., nn.Module]) -> Maker:
        return largest(lambda hidden: nn.Sequential(nn.Unflatten(1, (8, 8)), Layer(kind, 8, hidden, 10), Last()), budget)

    def perceptron(hidden: int) -> nn.Module:
        return nn.Sequential(nn.Linear(64, hidden), nn.Tanh(), nn.Linear(hidden, 10))

    return {"GRU": by_rows(nn.GRU), "RNN": by_rows(nn.RNN), "MLP": largest(perceptron, budget)}


class Last(nn.Module):
    """The answer after the last step."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1]
