"""The 5-level linear operation against its limits and its peers: `python -m bench.linear` (see --help for sizes and threads).

Each call takes the next of enough copies of its matrix that all come from main memory (224 MB), and all contestants take turns. Limits: a
plain read of the same bytes for one token, and 8-bit dot products in registers for a batch. Peers: torch's float32, bfloat16, dynamic int8,
int8 (bfloat16 activations) and int4 (a scale for 128) products. CPU time of the calling thread, which with more threads waits for the
others busily.
"""

import argparse
import ctypes
import itertools
import json
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from bench.interleaved import Timing, measure
from pipeline import ops
from pipeline.ops import native

POOL = 224_000_000
"""Bytes of copies of each matrix: more than any cache."""
READ = "plain read of the dense bytes"
GROUP = 128
"""Inputs that share a scale, as in torch's int4."""
Call = Callable[[], object]


def limits() -> ctypes.CDLL:
    """bench/limits.cpp, compiled for this machine."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "limits.so"
        source = Path(__file__).with_name("limits.cpp")
        subprocess.run(["c++", "-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
        loaded = ctypes.CDLL(str(library))
    loaded.read_all.argtypes, loaded.read_all.restype = [ctypes.c_void_p, ctypes.c_int64], ctypes.c_uint64
    loaded.int8_peak.restype = ctypes.c_double
    return loaded


def copies(tensor: Tensor) -> "itertools.cycle[Tensor]":
    """Endlessly the next of enough copies of a tensor."""
    return itertools.cycle([tensor.clone() for _ in range(max(1, POOL // tensor.nbytes))])


def pool_of_tiles(packed: Tensor, columns: int, form: str) -> "itertools.cycle[Tensor]":
    """Endlessly the next of enough copies of tiles, in memory with the pages that `tile` asks for."""
    first = ops.tile(packed, columns, form)
    return itertools.cycle([first, *(ops.tile(packed, columns, form) for _ in range(POOL // first.nbytes))])


def ours(packed: Tensor, x: Tensor, scale: Tensor) -> dict[str, Call]:
    """The kernels of this machine's level, by form and mode."""
    forms = ["nibble", "dense"] if native.module().level() == "avx512" else ["nibble"]
    calls: dict[str, Call] = {}
    for form in forms:
        pool = pool_of_tiles(packed, x.shape[1], form)
        for activations in ("int8", "float"):
            calls[f"ours, {form}, {activations}"] = lambda f=form, a=activations, e=pool: ops.linear(x, next(e), scale, None, f, a)
        scales = torch.rand(x.shape[1] // GROUP, scale.shape[0]).T
        calls[f"ours, {form}, int8, group {GROUP}"] = lambda f=form, e=pool, s=scales: ops.linear(x, next(e), s, None, f, "int8")
    return calls


def peers(weight: Tensor, x: Tensor) -> dict[str, Call]:
    """torch's own products with the same numbers of weights."""
    rows, columns = weight.shape
    floats, halves = copies(weight), copies(weight.bfloat16())
    x16 = x.bfloat16()
    quantized = torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)
    int8 = itertools.cycle([torch.ops.quantized.linear_prepack(quantized, None) for _ in range(max(1, POOL // weight.numel()))])
    nibbles = torch.randint(0, 16, (rows, columns), dtype=torch.int32)
    bytes8, scales16 = copies(torch.ones_like(weight, dtype=torch.int8)), torch.ones(rows, dtype=torch.bfloat16)
    int4 = copies(torch.ops.aten._convert_weight_to_int4pack_for_cpu(nibbles, 1))
    groups = torch.ones(columns // GROUP, rows, 2, dtype=torch.bfloat16)
    return {
        "torch float32": lambda: F.linear(x, next(floats)),
        "torch bfloat16": lambda: F.linear(x16, next(halves)),
        "torch dynamic int8": lambda: torch.ops.quantized.linear_dynamic(x, next(int8)),
        "torch int8, bfloat16": lambda: torch.ops.aten._weight_int8pack_mm(x16, next(bytes8), scales16),
        "torch int4, bfloat16": lambda: torch.ops.aten._weight_int4pack_mm_for_cpu(x16, next(int4), GROUP, groups),
    }


def compare(rows: int, columns: int, tokens: int, library: ctypes.CDLL) -> dict[str, Timing]:
    """All contestants for one size."""
    generator = torch.Generator().manual_seed(0)
    digits = torch.randint(-2, 3, (rows, columns), dtype=torch.int8, generator=generator)
    x, scale = torch.randn(tokens, columns, generator=generator), torch.rand(rows, generator=generator)
    packed = ops.pack(digits)
    dense = copies(torch.zeros(native.module().tiled_bytes("dense", rows, columns), dtype=torch.uint8))
    calls: dict[str, Call] = {READ: lambda: [library.read_all((t := next(dense)).data_ptr(), t.nbytes - 16384)]}
    return measure(calls | ours(packed, x, scale) | peers(digits.float(), x))


def show(timings: dict[str, Timing], rows: int, columns: int, tokens: int, threads: int, peak: float) -> None:
    """A table: times, rates, and the ratio to the limit and to our fastest."""
    table = Table(title=f"{rows} x {columns}, {tokens} tokens, {threads} threads")
    for column in ("", "microseconds (10-90 %)", "Gweights/s", "Gop/s", "of int8 peak", "read / this", "this / ours"):
        table.add_column(column, justify="left" if not column else "right")
    best = min(t.median for name, t in timings.items() if name.startswith("ours"))
    for name, time in timings.items():
        work = rows * columns / time.median / 1e9
        product = name != READ
        table.add_row(
            name,
            f"{time.median * 1e6:.0f} ({time.low * 1e6:.0f}-{time.high * 1e6:.0f})",
            f"{work:.1f}" if product else "",
            f"{2 * work * tokens:.0f}" if product else "",
            f"{2e9 * work * tokens / (peak * threads):.0%}" if product and peak else "",
            f"{timings[READ].median / time.median:.0%}",
            f"{time.median / best:.1f}x" if product else "",
        )
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    torch.set_num_threads(options.threads)
    library, results = limits(), {}
    peak = library.int8_peak()
    for tokens in options.tokens:
        timings = compare(options.rows, options.columns, tokens, library)
        show(timings, options.rows, options.columns, tokens, options.threads, peak)
        results[tokens] = {name: vars(time) for name, time in timings.items()}
    if options.json:
        options.json.write_text(
            json.dumps({"int8_peak": peak, "rows": options.rows, "columns": options.columns, "seconds": results}, indent=2)
        )


if __name__ == "__main__":
    main()
