"""A transformer small enough for a test, with weights that make its logits differ everywhere."""

from types import SimpleNamespace
from typing import Any

import torch

from pipeline import models
from pipeline.models.base import Model
from pipeline.models.transformer import configuration

VOCABULARY = 17
CONTEXT = 12
DEFAULTS = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": None,
    "head_dim": None,
    "intermediate_size": 24,
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "dropout": 0.0,
}


def config(vocabulary: int = VOCABULARY, **changes: Any) -> dict[str, Any]:
    return configuration(SimpleNamespace(**DEFAULTS | changes), vocabulary, vocabulary - 1, {"dataset": "none", "task": "language"})


def model(vocabulary: int = VOCABULARY, **changes: Any) -> Model:
    module = models.create(config(vocabulary, **changes), seed=5).eval()
    draw = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.2)
    return module


def tokens(batch: int, length: int) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(7))
