"""Thinking for as long as it takes: accuracy against the number of steps, and halting once an answer is sure.

Shapes: B rows, T steps, O outputs (class scores).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import Tensor

from pipeline.apps.realnet.data import to_tensor
from pipeline.models.realnet.inputs import is_sequence
from pipeline.models.realnet.network import RealNet


@torch.no_grad()
def think(model: RealNet, input_features: Any, most_steps: int, confidence: float, least_steps: int = 1) -> tuple[Tensor, Tensor]:
    """Each row thinks until the softmax of its output gives one class at least `confidence`: (outputs [B, O], steps taken [B]).

    A row that is sure leaves the batch and costs nothing more; one that never is answers after `most_steps`. One frame [B, features] a row;
    no dropout. `ValueError` for sequences, a confidence outside (0, 1], and steps that are not 1 <= least <= most.
    """
    x = to_tensor(input_features, model.device)
    if is_sequence(x):
        raise ValueError(f"input_features {list(x.shape)} must be one frame [batch, features] a row to think about")
    if not 0 < confidence <= 1:
        raise ValueError(f"confidence must be above 0 and at most 1, not {confidence!r}")
    if not 1 <= least_steps <= most_steps:
        raise ValueError(f"least_steps = {least_steps} must be from 1 to most_steps = {most_steps}")
    model.eval()
    open_rows = torch.arange(len(x), device=x.device)
    taken = torch.full((len(x),), most_steps, device=x.device)
    output, state = model.step(x, steps=least_steps)
    answers = output.clone()
    for step in range(least_steps, most_steps + 1):
        if step > least_steps:
            output, state = model.step(torch.zeros_like(x) if model.pulse_mode else x, state)
            answers[open_rows] = output
        unsure = output.softmax(-1).amax(-1) < confidence
        taken[open_rows[~unsure]] = step
        open_rows, x, state = open_rows[unsure], x[unsure], state[unsure]
        if not len(open_rows):
            break
    return answers, taken


@torch.no_grad()
def accuracy_by_steps(model: RealNet, input_features: Any, labels: Any, most_steps: int) -> list[float]:
    """Share of right answers after 1, 2, ..., `most_steps` steps, in one run. Input as for `think`, labels [B]."""
    x, y = to_tensor(input_features, model.device), to_tensor(labels, model.device)
    if is_sequence(x):
        raise ValueError(f"input_features {list(x.shape)} must be one frame [batch, features] a row")
    states, _ = model.eval()(x, most_steps)
    right_BT = model.output(states).argmax(-1) == y[:, None]
    return right_BT.float().mean(0).tolist()


def plot_accuracy(curves: Mapping[str, Sequence[Sequence[float]]], path: Path, trained: tuple[int, int] | None = None) -> None:
    """Accuracy against steps: for each name the mean of its runs, and a band from the least to the most; `trained` steps are shaded."""
    with rc_context({"svg.hashsalt": "quintet", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.add_subplot(xlabel="steps", ylabel="accuracy (%)")
        for name, runs in curves.items():
            percent = 100 * torch.tensor(runs)
            steps = range(1, percent.shape[1] + 1)
            axes.plot(steps, percent.mean(0), label=name)
            axes.fill_between(steps, percent.amin(0), percent.amax(0), alpha=0.25)
        if trained is not None:
            axes.axvspan(*trained, color="black", alpha=0.07, label="steps in training")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
