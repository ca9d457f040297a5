"""The small problems on which recurrent networks are compared: batches from a generator, and how well a network answers.

Every problem is a sequence: x [B, T, F] in, y [B, T, O] out, with a weight [B, T, O] of what is asked. A pulse is a frame before silence.
Input takes a step to reach the output of a RealNet, so that nothing is asked at the step of a pulse.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Batch = tuple[Tensor, Tensor, Tensor]
Net = Callable[[Tensor], Tensor]
"""x [B, T, F] -> [B, T, O]."""
Figures = dict[str, float]

HOLD, TRIGGERED = 1000, 0.7
"""Steps that a latch must hold, and the share of its rows that are triggered at all."""


@dataclass(frozen=True)
class Task:
    """A problem: sizes, how to draw a batch, and how to judge a network; the first figure counts, and `goal` says what it should be."""

    inputs: int
    outputs: int
    neurons: int
    updates: int
    learning_rate: float
    draw: Callable[[Generator, int], Batch]
    judge: Callable[[Net, Generator], Figures]
    goal: str
    seeds: int = 3
    steps: int | None = None
    """Length of all sequences; None: they differ, and a network without memory cannot take part."""
    told: int | None = None
    """Frames, from the first, that hold anything; None: all."""
    at_end: bool = False
    """Whether only the last step is asked."""


def _at_end(x: Tensor, answers: Tensor) -> Batch:
    """Only the last step is asked: answers [B, O]."""
    y = x.new_zeros(*x.shape[:2], answers.shape[1])
    weight = torch.zeros_like(y)
    y[:, -1], weight[:, -1] = answers, 1
    return x, y, weight


def _xor(random: Generator, rows: int, steps: int = 5) -> Batch:
    bits = torch.randint(0, 2, (rows, 2), generator=random).float()
    return _at_end(F.pad(bits[:, None], (0, 0, 0, steps - 1)), (bits[:, :1] != bits[:, 1:]).float())


def _judge_xor(net: Net, _: Generator) -> Figures:
    bits = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    right = (net(F.pad(bits[:, None], (0, 0, 0, 4)))[:, -1, 0] > 0.5) == torch.tensor([False, True, True, False])
    return {"solved": float(right.all())}


def _latch(random: Generator, rows: int, steps: int | None = None, triggered: float = TRIGGERED) -> Batch:
    """On from the step after a trigger at any step, or never."""
    steps = int(torch.randint(20, 101, (), generator=random)) if steps is None else steps
    moment = torch.randint(0, steps, (rows, 1), generator=random)
    moment[torch.rand(rows, generator=random) >= triggered] = steps
    time = torch.arange(steps)
    x = (time == moment).float()[..., None]
    return x, (time > moment).float()[..., None], 1 - x


def _judge_latch(net: Net, random: Generator) -> Figures:
    """1,000 steps, with a trigger among the first 20, with one anywhere, and without any."""
    early = [F.pad(each, (0, 0, 0, HOLD - 20), value=after) for each, after in zip(_latch(random, 64, 20, 1.0), (0, 1, 1), strict=True)]
    late = _latch(random, 64, HOLD, 1.0)
    triggered = [(((net(x) > 0.5) == (y > 0.5)) * weight).sum() / weight.sum() for x, y, weight in (early, late)]
    without = (net(torch.zeros(1, HOLD, 1)) <= 0.5).float().mean()
    figures = dict(zip(("early trigger", "late trigger", "no trigger"), map(float, (*triggered, without)), strict=True))
    return {"right": min(figures.values()), **figures}


def _sine(random: Generator, rows: int, steps: int = 30) -> Batch:
    """A constant input sets the frequency of a sine: 0.2 to 0.6 radians a step."""
    control = torch.rand(rows, 1, generator=random)
    y = ((0.2 + 0.4 * control) * torch.arange(1, steps + 1)).sin()[..., None]
    weight = torch.ones_like(y)
    weight[:, 0] = 0
    return control[..., None].expand(rows, steps, 1).contiguous(), y, weight


def _adder(random: Generator, rows: int, steps: int = 15) -> Batch:
    """Numbers from -0.5 to 0.5 come at steps 2 and 8; their sum is asked at step 14."""
    numbers = torch.rand(rows, 2, generator=random) - 0.5
    x = torch.zeros(rows, steps, 1)
    x[:, [2, 8], 0] = numbers
    return _at_end(x, numbers.sum(1, keepdim=True))


def _stopwatch(random: Generator, rows: int, steps: int = 30) -> Batch:
    """A pulse of height k / 30 asks for a peak at step k, from 5 to 25."""
    moment = torch.randint(5, 26, (rows, 1), generator=random)
    y = torch.exp(-((torch.arange(steps) - moment) ** 2) / 2.0)[..., None]
    return F.pad((moment / steps)[..., None], (0, 0, 0, steps - 1)), y, torch.ones_like(y)


def _judge_stopwatch(net: Net, random: Generator) -> Figures:
    x, y, _ = _stopwatch(random, 256)
    wrong = (net(x)[..., 0].argmax(1) - y[..., 0].argmax(1)).abs().float()
    return {"peak off by, steps": float(wrong.mean()), "exact": float((wrong == 0).float().mean())}


def _share_of_variance(draw: Callable[[Generator, int], Batch]) -> Callable[[Net, Generator], Figures]:
    """Judge by the squared error on fresh rows, as a share of that of answering zero."""

    def judge(net: Net, random: Generator) -> Figures:
        x, y, weight = draw(random, 512)
        error, of_zero = ((net(x) - y) ** 2 * weight).sum(), (y**2 * weight).sum()
        return {"error / error of 0": float(error / of_zero)}

    return judge


TASKS = {
    "xor": Task(2, 1, 3, 3000, 2e-2, _xor, _judge_xor, "1 on 19 of 20 seeds", seeds=20, steps=5, told=1, at_end=True),
    "latch": Task(1, 1, 32, 2000, 5e-3, _latch, _judge_latch, "0.99"),
    "sine": Task(1, 1, 48, 1500, 5e-3, _sine, _share_of_variance(_sine), "0.01", steps=30, told=1),
    "adder": Task(1, 1, 32, 1500, 5e-3, _adder, _share_of_variance(_adder), "0.01", steps=15, at_end=True),
    "stopwatch": Task(1, 1, 48, 1500, 5e-3, _stopwatch, _judge_stopwatch, "0", steps=30, told=1),
}
