"""The quantized model's values (digit x scale) in float32 as plain safetensors, beside the family's config.json and the tokenizer.

The form of `models/MODEL`, for families that `transformers` has no class for; `pipeline.models.load` reads it.
"""

from pathlib import Path

from pipeline import models
from pipeline.conversion import Bounds, Source
from pipeline.models.base import Model

BOUNDS = Bounds(max_logit_difference=1e-3, kl_divergence=1e-6, greedy_equal=0.9)
WEIGHTS = "model.safetensors"

load = models.load


def export(module: Model, source: Source, target: Path) -> None:
    """Write weights and configuration, and the tokenizer."""
    models.save(module.state_dict(), module.config, target / WEIGHTS, target / "config.json")
    source.copy_tokenizer(target)
