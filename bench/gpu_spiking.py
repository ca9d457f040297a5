"""Spiking neurons on a GPU against a step loop in torch: `python -m bench.gpu_spiking [--json FILE]`.

32 steps, float32, a quarter of all blocks of 64 x 64 synapses; forward and backward, and forward alone. Peer: the definition of the
operation run eagerly on the same device, with the coupling as one dense matrix. Times are between CUDA events around a batch of calls.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from bench.spiking import BLOCK, LOOP_FORWARD, OURS, OURS_FORWARD, STEPS, contestants
from pipeline.errors import UserError

SIZES = [(1, 1024), (64, 1024), (64, 2048), (256, 2048)]


def milliseconds(call: Callable[[], object], calls: int) -> float:
    """Of one call, on the device."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(calls):
        call()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / calls


def compare(streams: int, neurons: int, rounds: int) -> list[dict[str, Any]]:
    """One row a contestant: median and spread of its milliseconds, and how much faster ours is."""
    calls, rate = contestants(streams, neurons, "cuda")
    for call in calls.values():
        milliseconds(call, 3)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(milliseconds(call, 20 if name in (OURS, OURS_FORWARD) else 3))
    medians = {name: statistics.median(each) for name, each in times.items()}
    return [
        {
            "streams": streams,
            "neurons": neurons,
            "rate": rate,
            "name": name,
            "milliseconds": medians[name],
            "low": min(each),
            "high": max(each),
            "ours_is_faster_by": medians[name] / medians[OURS_FORWARD if "forward" in name else OURS],
        }
        for name, each in times.items()
    ]


def show(rows: list[dict[str, Any]], device: str) -> None:
    """The table for people."""
    table = Table(title=f"Spiking neurons, {STEPS} steps, on {device}")
    for title in ("streams", "neurons", "rate", "", "ms (least-most)", "ours is faster by"):
        table.add_column(title, justify="left" if title == "" else "right", no_wrap=True)
    for row in rows:
        spread = f"{row['milliseconds']:.3f} ({row['low']:.3f}-{row['high']:.3f})"
        sizes = str(row["streams"]), str(row["neurons"]), f"{row['rate']:.0%}"
        table.add_row(*sizes, row["name"], spread, f"{row['ours_is_faster_by']:.1f}", end_section=row["name"] == LOOP_FORWARD)
    Console(width=110).print(table)


def main() -> None:
    """Measure all sizes, print the table, write the JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit(str(UserError("bench.gpu_spiking needs a CUDA device, and torch finds none: run it on a machine with a GPU")))
    rows = [row for streams, neurons in SIZES for row in compare(streams, neurons, options.rounds)]
    device = torch.cuda.get_device_name()
    show(rows, device)
    if options.json:
        options.json.write_text(json.dumps({"device": device, "steps": STEPS, "block": BLOCK, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
