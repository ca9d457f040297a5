"""Packing, unpacking and tiling of every width on one thread: `python -m bench.packing`. Rates in weights and in float32 replaced."""

import torch

from bench.interleaved import measure
from pipeline import ops
from pipeline.ops import reference

SIDE = 4096


def main() -> None:
    torch.set_num_threads(1)
    for levels in reference.CODES:
        digits = torch.randint(-(levels // 2), levels - levels // 2, (SIDE, SIDE), dtype=torch.int8)
        packed, form = ops.pack(digits, levels), ops.best_form(0, levels)
        work = {
            "pack": lambda digits=digits, levels=levels: ops.pack(digits, levels),
            "unpack": lambda packed=packed, levels=levels: ops.unpack(packed, SIDE, levels),
            "tile": lambda packed=packed, levels=levels, form=form: ops.tile(packed, SIDE, form, levels),
        }
        for name, time in measure(work).items():
            rates = [digits.numel() / each / 1e9 for each in (time.median, time.high, time.low)]
            print(f"{levels:3} {name:7} {rates[0]:.2f} Gweights/s ({rates[1]:.2f}-{rates[2]:.2f}), {4 * rates[0]:.1f} GB/s of float32")


if __name__ == "__main__":
    main()
