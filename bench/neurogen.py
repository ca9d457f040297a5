"""NeuroGen's training window against its roof and against step loops in torch: `python -m bench.neurogen [--json FILE]`.

Forward, loss and backward of 32 tokens at the default sizes, 65 characters, one thread. Peers: the same brain with the definition's loop in
place of the native window, and with snnTorch's `Leaky` as its neurons, an internal step after the other (`pip install --no-deps snntorch`;
else the loop that its step amounts to, which says so in its name). Those neurons have no adaptation: they do less than ours.

The roof of a pass is the longer of two times. Compute: 2 operations a weight and token forward, 4 backward, and the neurons' and the
memory's own (see `Work`), at the peak of float32 multiply-adds in registers. Memory: the weights once a token and pass, and every other
number that comes in, is kept or goes out, once, at the speed of reading as many bytes over and over. The optimizer's step is left out.
"""

import argparse
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from bench.interleaved import Timing, measure, peak_flops
from bench.linear import limits
from bench.spiking_peers import ATan
from pipeline.models import neurogen
from pipeline.models.neurogen import Brain
from pipeline.models.neurogen.neurons import BETA, HEIGHT, RHO, Neurons
from pipeline.ops import reference_phase
from pipeline.schema.families import NeuroGen
from pipeline.training.devices import products

TOKENS, VOCABULARY = 32, 65
OURS, LOOP = "ours", "step loop"
Pair = tuple[Tensor, Tensor]
Calls = dict[str, Callable[[], object]]


class Defined(Neurons):
    """Neurons that run the definition."""

    def forward(self, current_BN: Tensor, modulation_BN: Tensor, pace: Pair, state: Pair) -> tuple[Tensor, Tensor, Tensor]:
        numbers = {"steps": self.steps, "rho": RHO, "beta": BETA, "height": HEIGHT}
        return reference_phase.phase_run(current_BN, self.gain, self.bias, modulation_BN, *pace, *state, **numbers)  # type: ignore[arg-type]


class Leaky(Neurons):
    """Neurons without adaptation: a library's layer, or its loop, in each internal step."""

    library = importlib.util.find_spec("snntorch") is not None

    def forward(self, current_BN: Tensor, modulation_BN: Tensor, pace: Pair, state: Pair) -> tuple[Tensor, Tensor, Tensor]:
        unit = F.layer_norm(current_BN, current_BN.shape[-1:], self.gain, self.bias, reference_phase.EPSILON)
        drive, (voltage, adaptation) = pace[1] * unit * modulation_BN, state
        step, total = self.layer(pace[0]), torch.zeros_like(drive)
        for _ in range(self.steps):
            spikes, voltage = step(drive, voltage)
            total = total + spikes
        return total / self.steps, voltage, adaptation

    def layer(self, decay: Tensor) -> Callable[[Tensor, Tensor], Pair]:
        if not self.library:
            return lambda drive, voltage: leaky(decay, drive, voltage)
        from snntorch import Leaky as Library

        layer = Library(beta=0.5, threshold=1.0, reset_mechanism="subtract")
        layer.beta = decay
        return layer  # type: ignore[no-any-return]


def leaky(decay: Tensor, drive: Tensor, voltage: Tensor) -> Pair:
    """A step of snnTorch's `Leaky`: the voltage is reset in the step after its spike."""
    reset = (voltage > 1.0).to(voltage.dtype).detach()
    voltage = decay * voltage + drive - reset
    return ATan.apply(voltage - 1.0), voltage


class ByCycle(Brain):
    """A brain that never takes the native window."""

    def _can_by_window(self, _: Tensor) -> bool:
        return False


def brain(kind: type[Brain] = Brain, cells: type[Neurons] = Neurons) -> Brain:
    """A brain of the default sizes, ready to train."""
    module = kind(neurogen.configuration(NeuroGen(), VOCABULARY, None, {"recurrent": True}))
    neurogen.initialize(module, 1)
    for neurons in module.neurons.values():
        neurons.__class__ = cells
    return module.train()


def contestants(streams: int) -> Calls:
    """The calls to time."""
    tokens = torch.randint(VOCABULARY, (streams, TOKENS + 1), generator=torch.Generator().manual_seed(0))

    def window(module: Brain) -> Callable[[], object]:
        parameters, state = list(module.parameters()), module.initial_state(streams)

        def run() -> object:
            logits, _ = module(tokens[:, :-1], state)
            loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            assert module.penalty is not None
            return torch.autograd.grad(loss + module.penalty, parameters, allow_unused=True)

        return run

    def permitted(run: Callable[[], object]) -> Callable[[], object]:
        def call() -> object:
            with products(torch.device("cpu"), "bfloat16"):
                return run()

        return call

    ours = window(brain())
    calls = {OURS: ours, "ours, bfloat16 products": permitted(ours), LOOP: window(brain(ByCycle, Defined))}
    return calls | {"snnTorch" if Leaky.library else "loop as snnTorch runs it": window(brain(ByCycle, Leaky))}


@dataclass(frozen=True)
class Work:
    """What a window must do at least: operations (an addition counts as a multiply-add, two) and bytes."""

    streams: int
    weights: int
    neurons: int
    steps: int
    """Internal steps of all neurons in a token's cycle."""
    memory: int
    """Numbers of the hippocampus' memory."""

    FORWARD, BACKWARD = (8, 6), (20, 14)
    """Multiply-adds of a neuron a token, and an internal step: the norm, gains and counts; voltage, threshold, spike, reset, adaptation.
    Backward computes the steps again, and has the surrogate's derivative and the sums for six gradients."""

    def operations(self, backward: bool) -> int:
        """Of a pass over the window."""
        each, step = self.BACKWARD if backward else self.FORWARD
        own = each * self.neurons + step * self.steps + (6 if backward else 3) * self.memory
        return 2 * self.streams * TOKENS * ((2 if backward else 1) * self.weights + own)

    def numbers(self, backward: bool) -> int:
        """Bytes of what is not a weight: four numbers a neuron in and three out; six in and three out; the memory before and after."""
        return 4 * self.streams * TOKENS * ((9 if backward else 7) * self.neurons + (3 if backward else 2) * self.memory)

    def roof(self, peak: float, weights: float, numbers: float) -> tuple[float, str]:
        """Seconds of both passes, and what binds them, at `peak` operations a second, and bytes a second of the two kinds."""
        total, bound = 0.0, []
        for backward in (False, True):
            compute = self.operations(backward) / peak
            memory = 4 * self.weights * TOKENS / weights + self.numbers(backward) / numbers
            total += max(compute, memory)
            bound.append("memory" if memory > compute else "compute")
        return total, ", ".join(bound)


def work_of(module: Brain, streams: int) -> Work:
    """The brain's numbers; an embedding is read, not multiplied."""
    matrices = [*module.wiring.parameters(), module.lm_head.weight]
    cells: Any = module.neurons.values()
    memory = module.memory.keys * module.sizes["hippocampus"]
    steps = sum(n.size * n.steps for n in cells)
    return Work(streams, sum(w.numel() for w in matrices), sum(module.sizes.values()), steps, memory)


def reads(work: Work) -> Calls:
    """Calls that read as many bytes as the weights, and as a pass' other numbers, have."""
    library = limits()

    def call(size: int) -> Callable[[], object]:
        data = torch.ones(size // 512 * 512 + 16384, dtype=torch.uint8)
        return lambda: (library.read_all(data.data_ptr(), size // 512 * 512), data)

    return {"read weights": call(4 * work.weights), "read numbers": call(work.numbers(True))}


def rows_of(work: Work, timings: dict[str, Timing], peak: float) -> list[dict[str, Any]]:
    """One row a contestant: milliseconds, tokens a second, how much faster ours is; of ours the share of the roof."""
    weights = 4 * work.weights / timings.pop("read weights").median
    numbers = work.numbers(True) / timings.pop("read numbers").median
    roof, bound = work.roof(peak, weights, numbers)
    rows = []
    for name, timing in timings.items():
        row = {"streams": work.streams, "name": name, "milliseconds": 1e3 * timing.median}
        row |= {"low": 1e3 * timing.low, "high": 1e3 * timing.high, "tokens_per_second": work.streams * TOKENS / timing.median}
        row["ours_is_faster_by"] = timing.median / timings[OURS].median
        if name == OURS:
            row |= {"roof_milliseconds": 1e3 * roof, "share_of_roof": roof / timing.median, "bound_by": bound}
            row |= {"read_weights": weights, "read_numbers": numbers}
        rows.append(row)
    return rows


def show(rows: list[dict[str, Any]], peak: float) -> None:
    """The table for people."""
    table = Table(title=f"NeuroGen, a training window of {TOKENS} tokens, one thread (peak {peak / 1e9:.0f} GFLOP/s)")
    for title in ("streams", "", "ms (10-90 %)", "tokens/s", "ours is faster by", "of roof", "bound by"):
        table.add_column(title, justify="left" if title in ("", "bound by") else "right", no_wrap=True)
    for row in rows:
        spread = f"{row['milliseconds']:.1f} ({row['low']:.1f}-{row['high']:.1f})"
        share = f"{row['share_of_roof']:.0%}" if "share_of_roof" in row else ""
        figures = (f"{row['tokens_per_second']:,.0f}", f"{row['ours_is_faster_by']:.2f}", share, row.get("bound_by", ""))
        table.add_row(str(row["streams"]), row["name"], spread, *figures)
    Console(width=140).print(table)


def main() -> None:
    """Measure, print the table, write the JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--streams", type=int, nargs="+", default=[16, 64])
    options = parser.parse_args()
    torch.set_num_threads(1)
    peak, rows = peak_flops(), []
    for streams in options.streams:
        work = work_of(brain(), streams)
        rows += rows_of(work, measure(contestants(streams) | reads(work), options.rounds), peak)
    show(rows, peak)
    if options.json:
        options.json.write_text(json.dumps({"tokens": TOKENS, "threads": 1, "peak_flops": peak, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
