"""Hugging Face directory with packed weights: `transformers` reads it and computes by our kernels, with `transformers_quantizer`."""

import shutil
from pathlib import Path

import pipeline.conversion.transformers_quantizer  # noqa: F401  registers how the weights are packed
from pipeline.conversion import Bounds, Source, huggingface_directory
from pipeline.models.base import Model

BOUNDS = Bounds(max_logit_difference=1e-3, kl_divergence=1e-6, greedy_equal=0.9)
WEIGHTS = huggingface_directory.WEIGHTS

load = huggingface_directory.load


def export(module: Model, source: Source, target: Path) -> None:
    """Copy the quantized directory, and add generation defaults and model card; `RuntimeError` if AutoTokenizer gives other ids."""
    for name in (WEIGHTS, "config.json"):
        shutil.copyfile(source.model / name, target / name)
    huggingface_directory.complete(module, source, target, packed=True)
