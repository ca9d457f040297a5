"""Training NeuroGen at the sizes of its documentation: `python -m bench.neurogen_document [--threads 1 2] [--streams 64] [--json FILE]`.

Forward, loss and backward of a window of preset `neurogen-document`: 79,872 neurons, 64 synapses a neuron and connection. The optimizer's
step, which a longer window makes as small as one likes, is timed beside it. Of each number of threads the best and the median window count,
by the clock, and the best by processor time: on a machine that does other things too, the best is nearest to what it can.

The roof is the longer of two times for a token. Compute: 6 operations a synapse (2 forward, 4 backward), 8 a weight of the read-out (its
prediction feeds the neuromodulators, one token later, as well), and the neurons' own (`bench.neurogen.Work`), at the peak of float32
multiply-adds in registers of so many threads. Memory: the weights three times a step of all streams (the read-out's four times), 16 numbers
a neuron and one of the memory's a pass, at the speed of reading as many bytes in one thread.
"""

import pipeline  # noqa: F401  (before torch, which reads only when it is imported how its idle threads wait)

# isort: split
import argparse
import json
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from bench.interleaved import measure, peak_flops
from bench.linear import limits
from bench.neurogen import Work
from pipeline import config
from pipeline.models import neurogen
from pipeline.models.neurogen import Brain

PRESET = Path(__file__).resolve().parents[1] / "presets/neurogen-document.yaml"


def brain() -> Brain:
    """The preset's brain, ready to train."""
    full = config.load(PRESET)
    tokenizer: Any = full.datasets["documents"].tokenizer  # type: ignore[union-attr]
    module = neurogen.build(neurogen.configuration(full.models["neurogen"].architecture, tokenizer.vocab_size, None, {"recurrent": True}))
    neurogen.initialize(module, 1)
    return module.train()


def roof(module: Brain, streams: int, peak: float, read: float) -> dict[str, float]:
    """What a token takes at least: operations, bytes, and seconds at `peak` operations and `read` bytes a second."""
    synapses, head = sum(weight.numel() for weight in module.wiring.parameters()), module.lm_head.weight.numel()
    cells: Any = module.neurons.values()
    neurons, steps = sum(module.sizes.values()), sum(n.size * n.steps for n in cells)
    memory = module.memory.keys * module.sizes["hippocampus"]
    each, step = (a + b for a, b in zip(Work.FORWARD, Work.BACKWARD, strict=True))
    operations = 6 * synapses + 8 * head + 2 * (each * neurons + step * steps + 2 * memory)
    size = 4 * (3 * synapses + 4 * head) / streams + 4 * (16 * neurons + 2 * memory)
    return {"operations": operations, "bytes": size, "seconds": max(operations / peak, size / read)}


def windows(module: Brain, streams: int, rounds: int) -> dict[str, float]:
    """Tokens a second over windows by the clock and by processor time; seconds of an optimizer's step."""
    tokens = torch.randint(module.config["vocab_size"], (streams, module.context + 1), generator=torch.Generator().manual_seed(0))
    optimizer, state = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True), module.initial_state(streams)
    clock, processor, update = [], [], []
    for _ in range(rounds + 1):
        begun = time.perf_counter(), time.process_time()
        logits, _ = module(tokens[:, :-1], state)
        assert module.penalty is not None
        (F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()) + module.penalty).backward()
        clock.append(time.perf_counter() - begun[0])
        processor.append(time.process_time() - begun[1])
        del logits
        begun = time.perf_counter(), 0.0
        optimizer.step()
        optimizer.zero_grad()
        update.append(time.perf_counter() - begun[0])
    count = tokens[:, 1:].numel()
    best, median = count / min(clock[1:]), count / statistics.median(clock[1:])
    return {"best": best, "median": median, "by_processor_time": count / min(processor[1:]), "optimizer_seconds": min(update[1:])}


def main() -> None:
    """Measure, print the table, write the JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    peak, library, size = peak_flops(), limits(), 1 << 28
    data = torch.ones(size + 16384, dtype=torch.uint8)
    read = size / measure({"read": lambda: library.read_all(data.data_ptr(), size)}, 5)["read"].median
    module, rows = brain(), []
    for threads in options.threads:
        torch.set_num_threads(threads)
        least = roof(module, options.streams, threads * peak, read)
        row = {"threads": threads, "streams": options.streams, "tokens": module.context} | windows(module, options.streams, options.rounds)
        rows.append(row | {"roof": 1 / least["seconds"], "share_of_roof": row["best"] * least["seconds"], **least})
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    title = f"NeuroGen, {sum(module.sizes.values()):,} neurons, {options.streams} streams: {rows[0]['operations'] / 1e6:.0f} MFLOP and "
    title += f"{rows[0]['bytes'] / 1e6:.1f} MB a token; {peak / 1e9:.0f} GFLOP/s a thread, {read / 1e9:.1f} GB/s; peak {gigabytes:.1f} GB"
    table = Table(title=title)
    for name in ("threads", "tokens/s", "median", "by processor time", "optimizer (s)", "roof", "share"):
        table.add_column(name, justify="right")
    for row in rows:
        figures = (f"{row[key]:.0f}" for key in ("best", "median", "by_processor_time"))
        table.add_row(str(row["threads"]), *figures, f"{row['optimizer_seconds']:.2f}", f"{row['roof']:.0f}", f"{row['share_of_roof']:.0%}")
    Console(width=140).print(table)
    if options.json:
        found = {"peak_flops": peak, "read": read, "peak_gigabytes": gigabytes, "rows": rows}
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
