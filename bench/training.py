"""Speed of training and of decoding on one and two threads: `python -m bench.training`. Wall time counts, so let the machine be quiet.

Each model of the presets `default` and `tinyshakespeare` trains for some steps, as configured, on random tokens.
"""

import argparse
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from pipeline import config, models
from pipeline.data import tokenizers
from pipeline.data.arithmetic import Codec
from pipeline.models.base import Model
from pipeline.models.generation import generate
from pipeline.training import devices
from pipeline.training.checkpoints import Store
from pipeline.training.loop import Trainer
from pipeline.training.tasks import Arithmetic, Language, Task

LETTERS = tokenizers.characters("".join(map(chr, range(32, 97))))
CODEC = Codec(("+", "-"), 2, 0, 100, -100, 200)
PROBLEMS = [CODEC.encode_problem(f"{a}+{b}=") for a, b in itertools.product(range(0, 100, 2), range(0, 100, 3))]


class Silence:
    """Takes a training's events and keeps none."""

    def metrics(self, values: dict[str, float], step: int) -> None: ...


def task_of(block: Any) -> Task:
    """The model's task with random data of the right shape."""
    draw, context = np.random.default_rng(1), block.architecture.context
    if block.dataset == "arithmetic":
        rows = draw.integers(0, CODEC.vocab_size, (4096, CODEC.row_length), dtype=np.uint8)
        return Arithmetic({"train": rows, "validation": rows[:64]}, block.training, 1, context, CODEC)
    text = draw.integers(0, LETTERS.vocab_size, 1_000_000, dtype=np.uint16)
    return Language({"train": text, "validation": text[:2000]}, block.training, 1, context, LETTERS)


def module_of(block: Any) -> Model:
    size = CODEC.vocab_size if block.dataset == "arithmetic" else LETTERS.vocab_size
    return models.create(models.family(block.family).configuration(block.architecture, size, size - 1, {}), 1)


def training(block: Any, threads: int, steps: int) -> tuple[float, float]:
    """Tokens a second, and milliseconds of processor time a step."""
    with tempfile.TemporaryDirectory() as folder:
        task = task_of(block)
        trainer = Trainer(module_of(block), task, 1, Store(Path(folder)), Silence(), "bench")
        devices.prepare("cpu", threads)
        with devices.products(torch.device("cpu"), block.training.precision):
            for _ in range(10):
                trainer._step()
            began, worked = time.perf_counter(), time.process_time()
            for _ in range(steps):
                trainer._step()
            wall, cpu = time.perf_counter() - began, time.process_time() - worked
    return steps * task.tokens_per_step / wall, 1000 * cpu / steps


def decoding(block: Any, threads: int) -> float:
    """Problems a second, greedily and in batches of 256, each to its full length."""
    module = module_of(block).eval()
    torch.set_num_threads(threads)
    began = time.perf_counter()
    for start in range(0, len(PROBLEMS), 256):
        generate(module, PROBLEMS[start : start + 256], CODEC.answer_width + 1)
    return len(PROBLEMS) / (time.perf_counter() - began)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    steps = parser.parse_args().steps
    table = Table("preset", "model", "threads", "tokens/s", "CPU ms a step", "problems/s")
    for name in ("default", "tinyshakespeare"):
        for model, block in config.load(config.preset(name)).models.items():
            for threads in (1, 2):
                rate, cpu = training(block, threads, steps)
                problems = f"{decoding(block, threads):,.0f}" if block.dataset == "arithmetic" else ""
                table.add_row(name, model, str(threads), f"{rate:,.0f}", f"{cpu:.1f}", problems)
    Console().print(table)


if __name__ == "__main__":
    main()
