"""The 5-level linear operation on a CUDA device against its limit and its peers: `python -m bench.gpu_linear`.

Each contestant has enough copies of its matrix that none is still in the cache when its turn comes again, and computes with all of them in
one CUDA graph: no launch waits for Python. The graphs take turns. Ours rounds the activations too. Limit: a plain read of the bytes.
Peers: torch's bfloat16 product (cuBLAS), and for more than 16 tokens its int8 product of numbers that are rounded already.
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
from bench.on_gpu import captured, measure, require_device
from pipeline import ops

SIZES = [(4096, 4096), (11008, 4096)]
TOKENS = [1, 8, 64]
POOL = 2 * 60_000_000
"""Bytes of copies of a matrix, at least: twice the largest cache of such a device (50 MB) and some more."""
READ, OURS = "plain read of our bytes", "ours, int8"
Each = tuple[Callable[[], object], int]


def pool(matrix: Tensor) -> Tensor:
    """Copies of a matrix, one behind the other."""
    return matrix.expand(-(-POOL // matrix.nbytes), *matrix.shape).contiguous()


def over(copies: Tensor, product: Callable[[Tensor], object]) -> Each:
    """One graph of a product with each copy, and how many there are."""
    return captured(lambda: [product(each) for each in copies.unbind()]), len(copies)


def contestants(rows: int, columns: int, tokens: int) -> dict[str, Each]:
    """What is timed, and how many matrices it goes through."""
    digits = torch.randint(-2, 3, (rows, columns), dtype=torch.int8)
    tiles = pool(ops.tile(ops.pack(digits).cuda(), columns, ops.best_form(rows * columns, device="cuda")))
    weights = pool((digits * 0.01).bfloat16().cuda())
    scale, x = torch.full((rows,), 0.01, device="cuda"), torch.randn(tokens, columns, device="cuda", dtype=torch.bfloat16)
    found = {
        OURS: over(tiles, lambda w: ops.linear(x, w, scale, None, "warp", "int8")),
        READ: (captured(lambda: tiles.view(torch.float32).sum()), len(tiles)),
        "torch bfloat16": over(weights, lambda w: F.linear(x, w)),
    }
    if tokens > 16:
        whole, q = pool(digits.cuda()), torch.randint(-127, 128, (tokens, columns), dtype=torch.int8, device="cuda")
        found["torch int8, rounded before"] = over(whole, lambda w: torch._int_mm(q, w.T))
    return found


def compare(rows: int, columns: int, tokens: int, rounds: int) -> list[dict[str, Any]]:
    """One row a contestant: microseconds for one matrix, and how much longer it takes than ours."""
    each = contestants(rows, columns, tokens)
    timings = measure({name: call for name, (call, _) in each.items()}, rounds)
    per_matrix = {name: Timing(*(part / each[name][1] for part in (t.median, t.low, t.high))) for name, t in timings.items()}
    return [
        {
            "rows": rows,
            "columns": columns,
            "tokens": tokens,
            "name": name,
            "microseconds": 1e6 * timing.median,
            "low": 1e6 * timing.low,
            "high": 1e6 * timing.high,
            "ours_is_faster_by": timing.median / per_matrix[OURS].median,
        }
        for name, timing in per_matrix.items()
    ]


def show(rows: list[dict[str, Any]], device: str) -> None:
    """The table for people."""
    table = Table(title=f"5-level linear on {device}, one matrix")
    for title in ("rows", "columns", "tokens", "", "us (10-90 %)", "ours is faster by"):
        table.add_column(title, justify="left" if title == "" else "right")
    for row, after in zip(rows, [*rows[1:], rows[0]], strict=True):
        size = [str(row[key]) for key in ("rows", "columns", "tokens")]
        spread = f"{row['microseconds']:.2f} ({row['low']:.2f}-{row['high']:.2f})"
        table.add_row(*size, row["name"], spread, f"{row['ours_is_faster_by']:.2f}", end_section=row["tokens"] != after["tokens"])
    Console().print(table)


def main() -> None:
    """Measure all sizes, print the table, write the JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    device = require_device()
    rows = [row for size in SIZES for tokens in TOKENS for row in compare(*size, tokens, options.rounds)]
    show(rows, device)
    if options.json:
        options.json.write_text(json.dumps({"device": device, "torch": torch.__version__, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
