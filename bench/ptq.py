"""Time and memory of quantization without training for a transformer of 100 M parameters: `python -m bench.ptq`, on two threads.

`--layers 2` takes that many of its layers, and prints beside it what all of them would take, if the output matrix takes as long as a layer,
and the other layers add their weights to the memory and nothing else, since they are taken one at a time. That is too little where the run
backwards for `outputs` is what needs most: it holds what every layer keeps for its way back. Weights and tokens are random:
neither matters here. Memory is what the process has held at most beyond what it held before there was a model. On a machine with other
work, processor time is nearer to what a quiet one takes: halved, it is the time where both threads are always busy.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from pipeline import models
from pipeline.data import tokenizers
from pipeline.models import transformer
from pipeline.models.base import Model
from pipeline.schema.families import FAMILIES
from pipeline.schema.quantization import Quantization
from pipeline.stages.quantize import Quantizer
from pipeline.training.checkpoints import Store
from pipeline.training.tasks import Language

LAYERS, VOCABULARY = 12, 16384
SIZES = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 2048, "max_position_embeddings": 256}


class Random(Quantizer):
    """Calibrates on random tokens."""

    def _task(self, module: Model, settings: Any, stream: str) -> Language:
        tokens = np.random.default_rng(1).integers(0, VOCABULARY, 1_000_000, dtype=np.uint16)
        return Language({"train": tokens}, settings, 1, module.context, tokenizers.characters("ab"))


def model(layers: int) -> Model:
    architecture = FAMILIES["transformer"].model_validate({**SIZES, "num_hidden_layers": layers})
    module = models.create(transformer.configuration(architecture, VOCABULARY, None, {}), 1)
    with torch.no_grad():
        for parameter in module.hidden_matrices().values():
            parameter.normal_(0.0, 0.02)
    return module


def measure(layers: int, sequences: int) -> tuple[int, float, float, float]:
    """Parameters, seconds on the clock and of processor time, and peak memory in bytes."""
    before = psutil.Process().memory_info().rss
    source = [model(layers)]
    parameters = source[0].parameter_count()
    settings = Quantization.model_validate({"method": "ptq", "ptq": {"calibration": sequences}})
    with tempfile.TemporaryDirectory() as folder:
        quantizer = Random(settings, Path(folder), 1, Store(Path(folder)), None, "quantize")
        clock, start = time.monotonic(), time.process_time()
        quantizer.run(source.pop(), "random weights")
        seconds, cpu = time.monotonic() - clock, time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return parameters, seconds, cpu, peak - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--sequences", type=int, default=256, help="sequences of 256 tokens to calibrate on")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    parameters, seconds, cpu, peak = measure(arguments.layers, arguments.sequences)
    say(arguments.layers, parameters, seconds, cpu, peak)
    if arguments.layers < LAYERS:
        more = (LAYERS - arguments.layers) * sum(parameter.numel() for block in model(1).blocks() for parameter in block.parameters())
        rate = (LAYERS + 1) / (arguments.layers + 1)
        say(LAYERS, parameters + more, seconds * rate, cpu * rate, peak + 4 * more)


def say(layers: int, parameters: int, seconds: float, cpu: float, peak: float) -> None:
    times = f"{seconds / 60:.1f} minutes, {cpu / 60:.1f} of processor time"
    print(f"{parameters / 1e6:.0f} M parameters in {layers} layers: {times}, at most {peak / (4 * parameters):.2f} x the model's memory")


if __name__ == "__main__":
    main()
