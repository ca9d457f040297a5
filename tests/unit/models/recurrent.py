"""Small models with a recurrent state, whose weights make their logits differ everywhere."""

from typing import Any

import torch

from pipeline import models
from pipeline.models.base import Model
from pipeline.schema.families import FAMILIES

VOCABULARY = 17
CONTEXT = 12
SIZES: dict[str, dict[str, Any]] = {
    "gru": {"hidden_size": 12, "embedding_size": 6, "num_hidden_layers": 2},
    "realnet": {"num_neurons": 20, "input_neurons": 14, "output_neurons": 16, "think_steps": 2, "activation": "gelu"},
}


def config(family: str, **changes: Any) -> dict[str, Any]:
    block = FAMILIES[family].model_validate({**SIZES[family], "context": CONTEXT, **changes})
    quintet = {"dataset": "none", "task": "language", "recurrent": True, "training_key": "0123456789abcdef"}
    return dict(models.family(family).configuration(block, VOCABULARY, None, quintet))


def model(family: str, **changes: Any) -> Model:
    module = models.create(config(family, **changes), seed=5).eval()
    draw = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.1)
    return module


def tokens(batch: int, length: int) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(7))
