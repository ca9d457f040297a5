"""RealNet's recurrent run against its peers: `python -m bench.recurrent [--json FILE]`.

One thread, batch 32, float32, forward and backward of all steps, input at the first step, loss on the final state. Peers: torch.nn.RNN
(tanh, input of one number, no normalisation: less work than ours), a step loop as one writes it in torch, and the matrix products alone by
torch.mm.
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
from pipeline.ops.recurrent import recurrent_run
from pipeline.ops.reference_recurrent import recurrent_run as step_loop

BATCH = 32
SIZES = [(128, 16), (128, 64), (512, 16), (512, 64), (1024, 16), (1024, 64)]
OURS = "ours"


def contestants(neurons: int, steps: int) -> dict[str, Callable[[], object]]:
    """The calls to time, each a forward and a backward pass (the products: what those two contain)."""
    weight = (torch.randn(neurons, neurons) / neurons**0.5).requires_grad_()
    bias, gain = torch.zeros(neurons, requires_grad=True), torch.ones(neurons, requires_grad=True)
    drive, sequence = torch.randn(BATCH, 1, neurons), torch.randn(BATCH, steps, 1)
    parameters, rnn = [weight, bias, gain], torch.nn.RNN(1, neurons, batch_first=True)
    rows, all_rows, matrix = torch.randn(BATCH, neurons), torch.randn(steps * BATCH, neurons), weight.detach()

    def run(function: Callable[..., Any], **options: Any) -> Callable[[], object]:
        return lambda: torch.autograd.grad(function(drive, *parameters, steps=steps, **options)[0].sum(), parameters)

    def products() -> None:
        for _ in range(steps):
            rows @ matrix
            rows @ matrix.T
        all_rows.T @ all_rows

    return {
        OURS: run(recurrent_run),
        "ours, dropout 0.1": run(recurrent_run, dropout=0.1),
        "torch.nn.RNN": lambda: torch.autograd.grad(rnn(sequence)[1].sum(), list(rnn.parameters())),
        "step loop": run(step_loop),
        "step loop, dropout 0.1": run(step_loop_with_torch_dropout),
        "products alone": products,
    }


def step_loop_with_torch_dropout(
    drive: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, gain: torch.Tensor, steps: int
) -> list[torch.Tensor]:
    """The same loop with torch's own dropout."""
    h = torch.zeros(drive.shape[0], weight.shape[0])
    for t in range(steps):
        s = h @ weight + bias + (drive[:, 0] if t == 0 else 0)
        h = torch.nn.functional.rms_norm(torch.nn.functional.dropout(torch.tanh(s), 0.1), (weight.shape[0],), gain)
    return [h]


def rows_of(neurons: int, steps: int, timings: dict[str, Timing], peak: float) -> list[dict[str, Any]]:
    """One row a contestant: milliseconds, speed of ours relative to it, share of the floating-point peak."""
    flops = 6 * BATCH * neurons**2 * steps
    return [
        {
            "neurons": neurons,
            "steps": steps,
            "name": name,
            "milliseconds": 1e3 * timing.median,
            "low": 1e3 * timing.low,
            "high": 1e3 * timing.high,
            "ours_is_faster_by": timing.median / timings[OURS].median,
            "share_of_peak": flops / timing.median / peak,
        }
        for name, timing in timings.items()
    ]


def show(rows: list[dict[str, Any]], peak: float) -> None:
    """The table for people."""
    table = Table(title=f"Recurrent run, batch {BATCH}, forward + backward, one thread (peak {peak / 1e9:.0f} GFLOP/s)")
    for title in ("neurons", "steps", "", "ms (10-90 %)", "ours is faster by", "of peak"):
        table.add_column(title, justify="left" if title == "" else "right")
    for row in rows:
        spread = f"{row['milliseconds']:.3f} ({row['low']:.3f}-{row['high']:.3f})"
        faster = f"{row['ours_is_faster_by']:.2f}"
        last = row["name"] == rows[-1]["name"]
        table.add_row(str(row["neurons"]), str(row["steps"]), row["name"], spread, faster, f"{row['share_of_peak']:.0%}", end_section=last)
    Console().print(table)


def main() -> None:
    """Measure all sizes, print the table, write the JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    peak = peak_flops()
    rows = [row for n, t in SIZES for row in rows_of(n, t, measure(contestants(n, t), options.rounds), peak)]
    show(rows, peak)
    if options.json:
        options.json.write_text(json.dumps({"batch": BATCH, "threads": 1, "peak_flops": peak, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
