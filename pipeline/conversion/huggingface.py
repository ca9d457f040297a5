"""Hugging Face directory: `AutoModelForCausalLM` and `AutoTokenizer` read it without any code of ours.

The weights are the quantized model's values (digit x scale) in float32, under Qwen3's names.
"""

from pathlib import Path

from pipeline import models
from pipeline.conversion import Bounds, Source, huggingface_directory
from pipeline.models.base import Model

BOUNDS = Bounds(max_logit_difference=1e-3, kl_divergence=1e-6, greedy_equal=0.9)
WEIGHTS = huggingface_directory.WEIGHTS

load = huggingface_directory.load


def export(module: Model, source: Source, target: Path) -> None:
    """Write weights, configuration, tokenizer, generation defaults and model card; `RuntimeError` if AutoTokenizer gives other ids."""
    models.save(module.state_dict(), module.config, target / WEIGHTS, target / "config.json")
    huggingface_directory.complete(module, source, target, packed=False)
