"""Spiking neurons against a step loop in torch: `python -m bench.spiking [--json FILE]`.

One thread, 32 steps, float32, a quarter of all blocks of 64 x 64 synapses. Peer: the loop that a torch user writes (the definition of the
operation, with the coupling as one dense matrix: torch has no fast block-sparse product on a CPU). "of peak" counts the coupling's products
as if every neuron fired, 2 operations a synapse forward and 4 backward; spikes let the forward pass skip most of its share.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from bench.interleaved import Timing, measure, peak_flops
from pipeline.ops.reference_spiking import spiking_run as step_loop
from pipeline.ops.spiking import silent_state, spiking_run

STEPS, BLOCK = 32, 64
SIZES = [(1, 512), (1, 1024), (1, 2048), (64, 512), (64, 1024), (64, 2048)]
OURS, OURS_FORWARD = "ours", "ours, forward only"
LOOP, LOOP_FORWARD = "step loop", "step loop, forward only"
NUMBERS = {"rho": 0.9, "kappa": 0.9, "height": 0.4, "refractory": 0, "reset": "subtract"}


def contestants(streams: int, neurons: int) -> tuple[dict[str, Callable[[], object]], float]:
    """The calls to time, and the firing rate of the neurons."""
    torch.manual_seed(0)
    per_side = neurons // BLOCK
    places = torch.randperm(per_side**2)[: per_side**2 // 4]
    places = torch.stack([places // per_side, places % per_side], 1)
    weight = (torch.randn(len(places), BLOCK, BLOCK) / (BLOCK * per_side * 0.25) ** 0.5).requires_grad_()
    alpha, theta, beta = (torch.full((neurons,), value).requires_grad_() for value in (0.5, 1.0, 0.3))
    drive, state = 0.8 * torch.randn(streams, STEPS, neurons), silent_state(streams, neurons)
    parameters, arguments = [weight, alpha, theta, beta], (weight, places, alpha, theta, beta, state)

    def both(run: Callable[..., Any]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(run(drive, *arguments, **NUMBERS)[0].sum(), parameters)

    def forward(run: Callable[..., Any]) -> Callable[[], object]:
        return torch.no_grad()(lambda: run(drive, *arguments, **NUMBERS))

    with torch.no_grad():
        rate = float(spiking_run(drive, *arguments, **NUMBERS)[0].mean())
    return {OURS: both(spiking_run), LOOP: both(step_loop), OURS_FORWARD: forward(spiking_run), LOOP_FORWARD: forward(step_loop)}, rate


def rows_of(streams: int, neurons: int, timings: dict[str, Timing], rate: float, peak: float) -> list[dict[str, Any]]:
    """One row a contestant: milliseconds, speed of ours relative to it, share of the floating-point peak."""
    products = streams * STEPS * (neurons // BLOCK) ** 2 // 4 * BLOCK**2
    return [
        {
            "streams": streams,
            "neurons": neurons,
            "rate": rate,
            "name": name,
            "milliseconds": 1e3 * timing.median,
            "low": 1e3 * timing.low,
            "high": 1e3 * timing.high,
            "ours_is_faster_by": timing.median / timings[OURS_FORWARD if "forward" in name else OURS].median,
            "share_of_peak": (2 if "forward" in name else 6) * products / timing.median / peak,
        }
        for name, timing in timings.items()
    ]


def show(rows: list[dict[str, Any]], peak: float) -> None:
    """The table for people."""
    table = Table(title=f"Spiking neurons, {STEPS} steps, one thread (peak {peak / 1e9:.0f} GFLOP/s)")
    for title in ("streams", "neurons", "rate", "", "ms (10-90 %)", "ours is faster by", "of peak"):
        table.add_column(title, justify="left" if title == "" else "right", no_wrap=True)
    for row in rows:
        sizes = (str(row["streams"]), str(row["neurons"]), f"{row['rate']:.0%}", row["name"])
        spread = f"{row['milliseconds']:.3f} ({row['low']:.3f}-{row['high']:.3f})"
        table.add_row(
            *sizes, spread, f"{row['ours_is_faster_by']:.2f}", f"{row['share_of_peak']:.0%}", end_section=row["name"] == LOOP_FORWARD
        )
    Console().print(table)


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
        rows += rows_of(streams, neurons, measure(calls, options.rounds), rate, peak)
    show(rows, peak)
    if options.json:
        options.json.write_text(
            json.dumps({"steps": STEPS, "block": BLOCK, "threads": 1, "peak_flops": peak, "rows": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
