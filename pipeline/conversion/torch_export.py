"""torch.export with float32 weights: a program that torch runs, or compiles further, without the model's Python code."""

from pathlib import Path

from pipeline.conversion import Bounds, Source, exported_program
from pipeline.models.base import Model

BOUNDS = Bounds(max_logit_difference=1e-3, kl_divergence=1e-6, greedy_equal=0.9)
WEIGHTS = exported_program.WEIGHTS

load = exported_program.load


def export(module: Model, source: Source, target: Path) -> None:
    """Write model.pt2, with the tokenizer and the configuration beside it."""
    exported_program.write(module, source, target)
