"""RealNet's recurrent run on a GPU against its peers: `python -m bench.gpu_recurrent [--json FILE]`.

float32, forward and backward of all steps, input at the first step, loss on the final state. Peers: the step loop that a torch user
writes, as it is and as a CUDA graph; torch.nn.RNN (cuDNN; tanh, input of one number, no normalisation: less work than ours); and the
matrix products alone by torch.mm.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from bench.interleaved import Timing
from bench.on_gpu import captured, measure, peak_flops, require_device
from pipeline.ops.recurrent import recurrent_run

SIZES = [(1024, 64, 32), (1024, 64, 128), (1024, 64, 512), (128, 64, 32), (512, 64, 32), (2048, 64, 32), (4096, 16, 32)]
"""Neurons, steps, batch."""
OURS = "ours"


def step_loop(drive: Tensor, weight: Tensor, bias: Tensor, gain: Tensor, steps: int, dropout: float = 0.0) -> list[Tensor]:
    """A launch for each small operation of each step."""
    h = drive.new_zeros(drive.shape[0], weight.shape[0])
    for t in range(steps):
        s = h @ weight + bias
        d = torch.tanh(s + drive[:, 0] if t == 0 else s)
        h = F.rms_norm(F.dropout(d, dropout) if dropout else d, (weight.shape[0],), gain)
    return [h]


def contestants(neurons: int, steps: int, batch: int) -> dict[str, Callable[[], object]]:
    """The calls to time, each a forward and a backward pass (the products: what those two contain)."""
    torch.manual_seed(0)
    device = torch.device("cuda")
    weight = (torch.randn(neurons, neurons, device=device) / neurons**0.5).requires_grad_()
    bias, gain = torch.zeros(neurons, device=device, requires_grad=True), torch.ones(neurons, device=device, requires_grad=True)
    drive, sequence = torch.randn(batch, 1, neurons, device=device), torch.randn(batch, steps, 1, device=device)
    parameters, rnn = [weight, bias, gain], torch.nn.RNN(1, neurons, batch_first=True).to(device)
    rows, all_rows, matrix = torch.randn(batch, neurons, device=device), torch.randn(steps * batch, neurons, device=device), weight.detach()

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
        "step loop": run(step_loop),
        "step loop, dropout 0.1": run(step_loop, dropout=0.1),
        "step loop as a CUDA graph": captured(run(step_loop)),
        "torch.nn.RNN (cuDNN)": lambda: torch.autograd.grad(rnn(sequence)[1].sum(), list(rnn.parameters())),
        "products alone": products,
        "products alone as a CUDA graph": captured(products),
    }


def rows_of(size: tuple[int, int, int], timings: dict[str, Timing], peak: float) -> list[dict[str, Any]]:
    """One row a contestant: milliseconds, speed of ours relative to it, share of the floating-point rate."""
    neurons, steps, batch = size
    flops = 6 * batch * neurons**2 * steps
    return [
        {
            "neurons": neurons,
            "steps": steps,
            "batch": batch,
            "name": name,
            "milliseconds": 1e3 * timing.median,
            "low": 1e3 * timing.low,
            "high": 1e3 * timing.high,
            "ours_is_faster_by": timing.median / timings[OURS].median,
            "share_of_peak": flops / timing.median / peak,
        }
        for name, timing in timings.items()
    ]


def show(rows: list[dict[str, Any]], device: str, peak: float) -> None:
    """The table for people."""
    table = Table(title=f"Recurrent run on {device}, forward + backward (float32 products: {peak / 1e12:.1f} TFLOP/s)")
    for title in ("neurons", "steps", "batch", "", "ms (10-90 %)", "ours is faster by", "of peak"):
        table.add_column(title, justify="left" if title == "" else "right")
    for row in rows:
        spread = f"{row['milliseconds']:.3f} ({row['low']:.3f}-{row['high']:.3f})"
        size = [str(row[key]) for key in ("neurons", "steps", "batch")]
        share, last = f"{row['share_of_peak']:.0%}", row["name"] == rows[-1]["name"]
        table.add_row(*size, row["name"], spread, f"{row['ours_is_faster_by']:.2f}", share, end_section=last)
    Console().print(table)


def main() -> None:
    """Measure all sizes, print the table, write the JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    device = require_device()
    peak = peak_flops()
    rows = [row for size in SIZES for row in rows_of(size, measure(contestants(*size), options.rounds), peak)]
    show(rows, device, peak)
    if options.json:
        options.json.write_text(
            json.dumps({"device": device, "torch": torch.__version__, "peak_flops": peak, "rows": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
