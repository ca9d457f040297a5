"""Spiking neurons against their roof and against step loops in torch: `python -m bench.spiking [--json FILE]`.

One thread, 32 steps, float32, a quarter of all blocks of 64 x 64 synapses. Peers: the loop that a torch user writes (the definition of
the operation, with the coupling as one dense matrix: torch has no fast block-sparse product on a CPU), and the loops of snnTorch and
SpikingJelly.

The roof of a pass is the longer of two times. Compute: its additions at the peak of multiply-adds in registers, one a synapse whose
neuron fired, forward and for the weights' gradient, and one a synapse for the gradient that goes back through it. Memory: every number
that comes in, is kept or goes out, once, at the speed of reading as many bytes over and over; and the rows of W that a step needs, at
that of reading as many bytes as W has. "of dense" is the peak's share if every neuron fired, as in a product that does not skip: 2
operations a synapse forward, 6 in all.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from bench.interleaved import Timing, measure, peak_flops
from bench.linear import limits
from bench.spiking_peers import peers
from pipeline.ops.reference_spiking import dense
from pipeline.ops.reference_spiking import spiking_run as step_loop
from pipeline.ops.spiking import silent_state, spiking_run

STEPS, BLOCK = 32, 64
SIZES = [(1, 512), (1, 1024), (1, 2048), (64, 512), (64, 1024), (64, 2048)]
OURS, OURS_FORWARD = "ours", "ours, forward only"
LOOP, LOOP_FORWARD = "step loop", "step loop, forward only"
NUMBERS = {"rho": 0.9, "kappa": 0.9, "height": 0.4, "refractory": 0, "reset": "subtract"}
Calls = dict[str, Callable[[], object]]


def contestants(streams: int, neurons: int, device: str = "cpu") -> tuple[Calls, float]:
    """The calls to time, and the firing rate of the neurons."""
    torch.manual_seed(0)
    per_side = neurons // BLOCK
    places = torch.randperm(per_side**2)[: per_side**2 // 4]
    places = torch.stack([places // per_side, places % per_side], 1).to(device)
    weight = (torch.randn(len(places), BLOCK, BLOCK) / (BLOCK * per_side * 0.25) ** 0.5).to(device).requires_grad_()
    neuron = [torch.full((neurons,), value, device=device).requires_grad_() for value in (0.5, 1.0, 0.3)]
    drive, direction = (0.8 * torch.randn(streams, STEPS, neurons).to(device) for _ in range(2))
    state, coupling = silent_state(streams, neurons, device), dense(weight, places, neurons).detach().requires_grad_()
    arguments = (weight, places, *neuron, state)

    def both(run: Callable[..., Any]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(run(drive, *arguments, **NUMBERS)[0], [weight, *neuron], direction)

    def forward(run: Callable[..., Any]) -> Callable[[], object]:
        return torch.no_grad()(lambda: run(drive, *arguments, **NUMBERS))

    def peer(run: Callable[..., Any]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(run(drive, coupling), coupling, direction)

    with torch.no_grad():
        rate = float(spiking_run(drive, *arguments, **NUMBERS)[0].mean())
    calls: Calls = {OURS: both(spiking_run), LOOP: both(step_loop)}
    calls |= {name: peer(run) for name, run in peers().items()} if device == "cpu" else {}
    return calls | {OURS_FORWARD: forward(spiking_run), LOOP_FORWARD: forward(step_loop)}, rate


@dataclass(frozen=True)
class Work:
    """What the passes must do at least: operations (an addition counts as a multiply-add, two) and bytes."""

    streams: int
    neurons: int
    rate: float

    @property
    def weights(self) -> int:
        """Bytes of W."""
        return (self.neurons // BLOCK) ** 2 // 4 * BLOCK**2 * 4

    @property
    def numbers(self) -> int:
        """Bytes of the four matrices [B, T, N] that a pass moves: drive, spikes, u and a; or u, a and two gradients."""
        return 4 * 4 * self.streams * STEPS * self.neurons

    def roofs(self, peak: float, numbers: float, weights: float) -> dict[str, tuple[float, float]]:
        """Seconds by (compute, memory) of each pass, at `peak` operations a second, and bytes a second of the two kinds."""
        dense = self.streams * STEPS * self.weights / 4 * 2 / peak
        rows = 1 - (1 - self.rate) ** self.streams  # share of W's rows that any stream's spikes need
        sweep = STEPS * self.weights / weights
        return {
            "forward only": (self.rate * dense, self.numbers / 2 / numbers + rows * sweep),
            "forward": (self.rate * dense, self.numbers / numbers + rows * sweep),
            "backward": ((1 + self.rate) * dense, self.numbers / numbers + sweep),
        }


def reads(work: Work) -> Calls:
    """Calls that read as many bytes as W, and as the passes' matrices, have."""
    library = limits()

    def call(size: int) -> Callable[[], object]:
        data = torch.ones(size + 16384, dtype=torch.uint8)
        return lambda: (library.read_all(data.data_ptr(), size), data)

    return {"read W": call(work.weights), "read numbers": call(work.numbers)}


def rows_of(work: Work, timings: dict[str, Timing], peak: float) -> list[dict[str, Any]]:
    """One row a contestant: milliseconds, speed of ours relative to it; of ours the share of the roof, and which roofs bind."""
    weights, numbers = work.weights / timings.pop("read W").median, work.numbers / timings.pop("read numbers").median
    roofs = work.roofs(peak, numbers, weights)
    rows = []
    for name, timing in timings.items():
        ours = OURS_FORWARD if "forward" in name else OURS
        row = {"streams": work.streams, "neurons": work.neurons, "rate": work.rate, "name": name}
        row |= {"milliseconds": 1e3 * timing.median, "low": 1e3 * timing.low, "high": 1e3 * timing.high}
        row["ours_is_faster_by"] = timing.median / timings[ours].median
        if name == ours:
            passes = ["forward only"] if name == OURS_FORWARD else ["forward", "backward"]
            row["roof_milliseconds"] = 1e3 * sum(max(roofs[each]) for each in passes)
            row["share_of_roof"] = row["roof_milliseconds"] / row["milliseconds"]
            row["share_of_dense"] = (2 if name == OURS_FORWARD else 6) * work.streams * STEPS * work.weights / 4 / timing.median / peak
            row["bound_by"] = ", ".join("memory" if roofs[each][1] > roofs[each][0] else "compute" for each in passes)
            row |= {"read_weights": weights, "read_numbers": numbers}
        rows.append(row)
    return rows


def show(rows: list[dict[str, Any]], peak: float) -> None:
    """The table for people."""
    table = Table(title=f"Spiking neurons, {STEPS} steps, one thread (peak {peak / 1e9:.0f} GFLOP/s)")
    for title in ("streams", "neurons", "rate", "", "ms (10-90 %)", "ours is faster by", "of roof", "bound by", "of dense"):
        table.add_column(title, justify="left" if title in ("", "bound by") else "right", no_wrap=True)
    for row in rows:
        sizes = (str(row["streams"]), str(row["neurons"]), f"{row['rate']:.0%}", row["name"])
        spread = f"{row['milliseconds']:.3f} ({row['low']:.3f}-{row['high']:.3f})"
        roof, dense_share = (f"{row[each]:.0%}" if each in row else "" for each in ("share_of_roof", "share_of_dense"))
        table.add_row(
            *(*sizes, spread, f"{row['ours_is_faster_by']:.2f}", roof, row.get("bound_by", ""), dense_share),
            end_section=row["name"] == LOOP_FORWARD,
        )
    Console(width=160).print(table)


def main() -> None:
    """Measure all sizes, print the table, write the JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    peak, rows = peak_flops(), []
    for streams, neurons in SIZES:
        calls, rate = contestants(streams, neurons)
        work = Work(streams, neurons, rate)
        rows += rows_of(work, measure(calls | reads(work), options.rounds), peak)
    show(rows, peak)
    if options.json:
        options.json.write_text(
            json.dumps({"steps": STEPS, "block": BLOCK, "threads": 1, "peak_flops": peak, "rows": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
