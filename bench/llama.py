"""The 5-level product against llama.cpp's quantized types, on request: `python -m bench.llama` (no part of `make bench`).

Builds ggml's CPU library from the source package `llama-cpp-python` (some minutes, once; kept under .quintet/llama), and times its bare
`vec_dot`, a row at a time, in the same round-robin as our product with one token. Each call takes the next copy of its matrix from main
memory. Both sides include the rounding of the activations. What the types hold differs: Q2_K has 4 levels and a scale for 16 weights, TQ2_0
3 levels and a scale for 256, Q4_0 and Q8_0 16 and 256 levels and a scale for 32; ours has 5 levels and a scale for a row, or for 128.
"""

import argparse
import ctypes
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from bench.interleaved import Timing, measure
from bench.linear import GROUP, READ, Call, copies, limits, pool_of_tiles
from pipeline import ops

PACKAGE = "llama_cpp_python-0.3.36"
TYPES = ("q2_K", "tq2_0", "q4_0", "q8_0")
HOME = Path(__file__).resolve().parents[1] / ".quintet" / "llama"


def library() -> ctypes.CDLL:
    """bench/ggml.cpp over ggml's CPU library, both built for this machine where that has not been done."""
    source, build = HOME / PACKAGE / "vendor" / "llama.cpp", HOME / "build"
    if not source.is_dir():
        name, version = PACKAGE.rsplit("-", 1)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", name, f"{name}=={version}"]
        subprocess.run([*pip, "-d", HOME], check=True)
        with tarfile.open(HOME / f"{PACKAGE}.tar.gz") as archive:
            archive.extractall(HOME, filter="data")
    off = (
        "GGML_OPENMP",
        "LLAMA_CURL",
        "LLAMA_OPENSSL",
        "LLAMA_BUILD_TESTS",
        "LLAMA_BUILD_SERVER",
        "LLAMA_BUILD_EXAMPLES",
        "LLAMA_BUILD_TOOLS",
    )
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", *(f"-D{name}=OFF" for name in off)]
    subprocess.run(["cmake", "-S", source, "-B", build, *options], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", build, "--target", "ggml-cpu"], check=True, stdout=subprocess.DEVNULL)
    shim, include, built = build / "shim.so", source / "ggml" / "include", build / "bin"
    compiler = ["c++", "-O2", "-std=c++17", "-shared", "-fPIC", f"-I{include}", Path(__file__).with_name("ggml.cpp")]
    subprocess.run([*compiler, "-o", shim, f"-L{built}", "-lggml-cpu", "-lggml-base", f"-Wl,-rpath,{built}"], check=True)
    loaded = ctypes.CDLL(str(shim))
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    loaded.quantize.argtypes, loaded.quantize.restype = [ctypes.c_int, pointer, size, size, pointer], ctypes.c_size_t
    loaded.multiply.argtypes, loaded.multiply.restype = [ctypes.c_int, pointer, size, size, pointer, pointer], None
    return loaded


def theirs(ggml: ctypes.CDLL, name: str, weight: torch.Tensor, x: torch.Tensor) -> Call:
    """A product by that type; raises `RuntimeError` where it is far from the float one, or ggml lacks the type."""
    rows, columns = weight.shape
    kind = ggml.type_of(name.encode())
    if kind < 0:
        raise RuntimeError(f"ggml has no type {name}")
    matrix = torch.empty(ggml.quantize(kind, None, rows, columns, None), dtype=torch.uint8)
    ggml.quantize(kind, weight.data_ptr(), rows, columns, matrix.data_ptr())
    y, pool = torch.empty(rows), copies(matrix)

    def call() -> None:
        ggml.multiply(kind, next(pool).data_ptr(), rows, columns, x.data_ptr(), y.data_ptr())

    call()
    expected = weight @ x[0]
    if (y - expected).norm() > 0.6 * expected.norm():
        raise RuntimeError(f"the product by {name} is wrong")
    return call


def compare(rows: int, columns: int, ggml: ctypes.CDLL) -> dict[str, Timing]:
    """All contestants for one size and one token."""
    generator = torch.Generator().manual_seed(0)
    digits = torch.randint(-2, 3, (rows, columns), dtype=torch.int8, generator=generator)
    x, reader = torch.randn(1, columns, generator=generator), limits()
    tiles = pool_of_tiles(ops.pack(digits), columns, "dense")
    scales = {"ours, a scale a row": torch.rand(rows), f"ours, a scale for {GROUP}": torch.rand(columns // GROUP, rows).T}
    calls: dict[str, Call] = {READ: lambda: [reader.read_all((t := next(tiles)).data_ptr(), t.nbytes - 16384)]}
    calls |= {name: lambda s=scale: ops.linear(x, next(tiles), s, None, "dense", "int8") for name, scale in scales.items()}
    return measure(calls | {name: theirs(ggml, name, digits.float(), x) for name in TYPES}, rounds=25)


def show(timings: dict[str, Timing], rows: int, columns: int) -> None:
    """A table: times, and how many times as long each takes as ours."""
    table = Table(title=f"{rows} x {columns}, 1 token, 1 thread, load {os.getloadavg()[0]:.1f}")
    ours = [name for name in timings if name.startswith("ours")]
    for column in ("", "microseconds (10-90 %)", "ps a weight", *(f"this / {name}" for name in ours)):
        table.add_column(column, justify="left" if not column else "right")
    for name, time in timings.items():
        ratios = [f"{time.median / timings[each].median:.2f}x" for each in ours]
        spread = f"{time.median * 1e6:.0f} ({time.low * 1e6:.0f}-{time.high * 1e6:.0f})"
        table.add_row(name, spread, f"{time.median / rows / columns * 1e12:.1f}", *ratios)
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["4096x4096", "4096x11520"], help="rows x columns (multiples of 256)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ggml = library()
    for shape in options.shapes:
        rows, columns = map(int, shape.split("x"))
        show(compare(rows, columns, ggml), rows, columns)


if __name__ == "__main__":
    main()
