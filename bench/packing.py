"""Packing and unpacking 5-level weights on one thread: `python -m bench.packing`. Rates in weights and in the float32 that they replace."""

import torch

from bench.interleaved import measure
from pipeline import ops


def main() -> None:
    torch.set_num_threads(1)
    digits = torch.randint(-2, 3, (4096, 4096), dtype=torch.int8)
    packed = ops.pack(digits)
    timings = measure(
        {"pack": lambda: ops.pack(digits), "unpack": lambda: ops.unpack(packed, 4096), "tile": lambda: ops.tile(packed, 4096, "nibble")}
    )
    for name, time in timings.items():
        rates = [digits.numel() / each / 1e9 for each in (time.median, time.high, time.low)]
        print(f"{name:7} {rates[0]:.2f} Gweights/s ({rates[1]:.2f}-{rates[2]:.2f}), {4 * rates[0]:.1f} GB/s of float32")


if __name__ == "__main__":
    main()
