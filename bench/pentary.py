"""The Pentary library's speed and sizes: `python -m bench.pentary [--json FILE]`.

The time that 1,000 large samples take to prepare; the size on disk, and the speed against torch's float32 and dynamic int8, of an MLP of
three matrices 1024 x 1024. Speed is CPU time of one thread; all contestants take turns, and beside them stands the machine's limit: the
time of a plain read of the packed bytes from cache, or of the products at the float32 peak.
"""

import argparse
import ctypes
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from bench.interleaved import Timing, measure, peak_flops
from bench.linear import limits
from pipeline.apps.pentary import PentaryModel, figures
from pipeline.apps.pentary.directory import save

WIDTH = 1024
BATCHES = (1, 64)
SAMPLES = 1000
READ = "plain read of the packed bytes"


def wide() -> PentaryModel:
    """The MLP whose size and speed are measured."""
    return PentaryModel(WIDTH, WIDTH, [WIDTH, WIDTH])


def bits_on_disk(model: PentaryModel) -> float:
    """All of model.safetensors, biases and header too, for each quantized weight."""
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder) / "wide")
        size = (Path(folder) / "wide" / "model.safetensors").stat().st_size
    return 8 * size / sum(parameter.numel() for parameter in model.quantizable().values())


def speed(model: PentaryModel, batch: int, library: ctypes.CDLL) -> dict[str, Timing]:
    """CPU time of a forward pass by contestant."""
    x = torch.randn(batch, WIDTH, generator=torch.Generator().manual_seed(0))
    plain, _ = model.packed()
    floats = nn.Sequential(*plain.layers).eval().requires_grad_(False)
    warnings.simplefilter("ignore")  # torch says that this peer will move
    dynamic = torch.ao.quantization.quantize_dynamic(floats, {nn.Linear}, torch.qint8)
    codes = torch.zeros(3 * WIDTH * WIDTH * 7 // 24 + 16384, dtype=torch.uint8)

    def call(module: nn.Module) -> Any:
        def forward() -> Tensor:
            with torch.inference_mode():
                return module(x)

        return forward

    contestants = {
        "5 levels, int8": call(model.deployed("int8")),
        "5 levels, float": call(model.deployed("float")),
        "torch float32": call(floats),
        "torch dynamic int8": call(dynamic),
    }
    read: dict[str, Any] = {READ: lambda: library.read_all(codes.data_ptr(), codes.numel() - 16384)} if batch == 1 else {}
    return measure(contestants | read)


def show(found: dict[int, dict[str, Timing]], peak: float) -> None:
    """A table of times, and how often torch's float32 takes the time."""
    table = Table(title=f"{WIDTH}-wide MLP, 3 matrices, 1 thread")
    for column in ("batch", "", "microseconds (10-90 %)", "float32 / this", "of the float32 peak"):
        table.add_column(column, justify="left" if not column else "right")
    for batch, timings in found.items():
        for name, time in timings.items():
            spread = f"{time.median * 1e6:.0f} ({time.low * 1e6:.0f}-{time.high * 1e6:.0f})"
            share = 6 * WIDTH**2 * batch / time.median / peak
            ratio = timings["torch float32"].median / time.median
            table.add_row(str(batch), name, spread, f"{ratio:.1f}x", "" if name == READ else f"{share:.0%}")
    Console().print(table)


def main() -> None:
    """Measure, print, and write JSON if asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write what was measured there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = wide()
    result: dict[str, Any] = {"seconds_to_prepare": figures.seconds_to_prepare(SAMPLES), "bits_a_weight": bits_on_disk(model)}
    print(f"{SAMPLES} samples of text, 224 x 224 image and 1 s of audio prepared in {result['seconds_to_prepare']:.2f} s of CPU")
    print(f"{WIDTH}-wide MLP on disk: {result['bits_a_weight']:.3f} bits for each quantized weight, biases and header included")
    library = limits()
    found_speed = {batch: speed(model, batch, library) for batch in BATCHES}
    show(found_speed, peak_flops())
    result["speed"] = {batch: {name: vars(time) for name, time in timings.items()} for batch, timings in found_speed.items()}
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
