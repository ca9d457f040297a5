"""RealNet's library against the loop that one writes in torch: `python -m bench.realnet [--json FILE]`.

Forward and backward through the public API, batch 32, a pulse as input, loss on the output after the last step; and whole updates (noise,
loss, gradient, clipping, AdamW) by `RealNetTrainer`, also of the 3-neuron XOR network, of which `fit` makes many at a time, against
those by torch's operations. Wall time on two threads, processor time on one; calls take turns in each round, and the median of the rounds'
ratios counts.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from pipeline.apps.realnet import RealNet, RealNetTrainer

BATCH = 32
SIZES = [(128, 16), (128, 64), (512, 16), (512, 64)]
"""Neurons, steps."""
LIBRARY, LOOP = "library", "torch loop"
XOR_ROWS, XOR_BATCH, XOR_STEPS, XOR_EPOCHS = 208, 16, 5, 10
"""Of a tenth of the seed's training: 130 of 1,300 updates."""


class StepLoop(nn.Module):
    """The same cell, a step at a time, with torch's own operations and dropout; the state of each step is kept, as the library gives it."""

    def __init__(self, model: RealNet) -> None:
        super().__init__()
        self.W, self.b, self.norm = nn.Parameter(model.W.detach().clone()), nn.Parameter(model.b.detach().clone()), nn.RMSNorm(len(model.b))
        self.input_scale = nn.Parameter(torch.ones(len(model.input_ids)))
        self.places, self.readers, self.dropout = model.places, model.readers, model.dropout_rate

    def forward(self, x: Tensor, steps: int) -> Tensor:
        h = x.new_zeros(len(x), len(self.b))
        states = []
        for step in range(steps):
            s = h @ self.W + self.b
            if step == 0:
                s = s.index_add(1, self.places, x * self.input_scale)
            h = self.norm(F.dropout(torch.tanh(s), self.dropout, self.training))
            states.append(h)
        return torch.stack(states, 1)[:, -1, self.readers]


def passes(neurons: int, steps: int, dropout: float) -> dict[str, Callable[[], object]]:
    """A forward and a backward pass of each."""
    model = RealNet(neurons, range(neurons // 2), range(neurons // 2, neurons), dropout_rate=dropout)
    loop, x = StepLoop(model), torch.randn(BATCH, neurons // 2)
    parameters = {LIBRARY: list(model.parameters()), LOOP: list(loop.parameters())}

    def output() -> Tensor:
        return model.output(model(x, steps, collect=steps)[0])[:, -1]

    return {
        LIBRARY: lambda: torch.autograd.grad(output().square().mean(), parameters[LIBRARY]),
        LOOP: lambda: torch.autograd.grad(loop(x, steps).square().mean(), parameters[LOOP]),
    }


def updates(model: RealNet, rows: int, steps: int) -> dict[str, Callable[[], object]]:
    """A whole update of each: noise, forward, loss, backward, clipped gradient, AdamW."""
    x, y = torch.randn(rows, len(model.input_ids)), torch.randn(rows, len(model.output_ids))
    trainer, loop = RealNetTrainer(model), StepLoop(model)
    optimizer = torch.optim.AdamW(loop.parameters(), lr=1e-2, weight_decay=0.0, fused=True)

    def written() -> None:
        optimizer.zero_grad()
        with torch.no_grad():
            for parameter in loop.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=1e-6)
        F.mse_loss(loop(x, steps), y).backward()
        nn.utils.clip_grad_norm_(loop.parameters(), 1.0)
        optimizer.step()

    return {LIBRARY: lambda: trainer.train_batch(x, y, steps, as_tensor=True), LOOP: written}


def training() -> dict[str, Callable[[], object]]:
    """A training of the XOR network."""
    rows = torch.randint(0, 2, (XOR_ROWS, 2)).float()
    right, trainer = (rows[:, :1] != rows[:, 1:]).float(), RealNetTrainer(RealNet(3, [0, 1], [2]))
    written = updates(RealNet(3, [0, 1], [2]), XOR_BATCH, XOR_STEPS)[LOOP]
    return {
        LIBRARY: lambda: trainer.fit(rows, right, XOR_EPOCHS, XOR_BATCH, XOR_STEPS),
        LOOP: lambda: [written() for _ in range(XOR_EPOCHS * XOR_ROWS // XOR_BATCH)],
    }


def measure(calls: dict[str, Callable[[], object]], rounds: int, seconds: float, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Milliseconds of one call of each in each round, in turns; two rounds before do not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    repeats = {name: max(1, round(seconds / max(_once(call, 3, clock), 1e-6))) for name, call in calls.items()}
    for _ in range(rounds + 2):
        for name, call in calls.items():
            times[name].append(1e3 * _once(call, repeats[name], clock))
    return {name: each[2:] for name, each in times.items()}


def _once(call: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(repeats):
        call()
    return (clock() - start) / repeats


def rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row a case: the median of each, and of the rounds' ratios, with the least and the most of these."""
    cases = {
        f"{neurons} neurons, {steps} steps{', dropout 0.1' if dropout else ''}": passes(neurons, steps, dropout)
        for neurons, steps in SIZES
        for dropout in (0.0, 0.1)
    }
    found = []
    for neurons in (128, 512):
        model = RealNet(neurons, range(neurons // 2), range(neurons // 2, neurons))
        cases[f"update, {neurons} neurons, 16 steps"] = updates(model, BATCH, 16)
    cases["update, XOR (3 neurons, 16 rows, 5 steps)"] = updates(RealNet(3, [0, 1], [2]), XOR_BATCH, XOR_STEPS)
    cases["130 such updates by fit"] = training()
    clock = time.perf_counter if options.threads > 1 else time.thread_time
    for name, calls in cases.items():
        if options.only not in name:
            continue
        times = measure(calls, options.rounds, options.seconds, clock)
        ratios = [slow / fast for fast, slow in zip(times[LIBRARY], times[LOOP], strict=True)]
        medians = {f"{side} ms": statistics.median(times[side]) for side in (LIBRARY, LOOP)}
        found.append({"case": name, **medians, "faster by": statistics.median(ratios), "least": min(ratios), "most": max(ratios)})
    return found


def main() -> None:
    """Measure, print the table, write the JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--only", default="", help="cases whose names have this in them")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each call in a round")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = rows(options)
    table = Table(title=f"RealNet, forward + backward, batch {BATCH}, {options.threads} threads")
    for column in found[0]:
        table.add_column(column, justify="left" if column == "case" else "right")
    for row in found:
        table.add_row(*(value if isinstance(value, str) else f"{value:.3g}" for value in row.values()))
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps({"batch": BATCH, "threads": options.threads, "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
