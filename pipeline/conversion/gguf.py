"""GGUF with matrices in float16, for llama.cpp, whose own tools make other types of it."""

from pathlib import Path

import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind

from pipeline.conversion import Bounds, Source, gguf_file
from pipeline.conversion.gguf_file import Data
from pipeline.models.base import Model

BOUNDS = Bounds(max_logit_difference=0.02, kl_divergence=1e-4, greedy_equal=0.9)
WEIGHTS = gguf_file.WEIGHTS

load = gguf_file.load


def export(module: Model, source: Source, target: Path) -> None:
    """Write model.gguf: matrices in float16, vectors in float32."""
    tensors = {name: _data(tensor) for name, tensor in module.state_dict().items()}
    gguf_file.write(tensors, module.config, source, target)


def _data(tensor: torch.Tensor) -> Data:
    array = tensor.numpy()
    return Data(array.astype(np.float16), Kind.F16) if array.ndim == 2 else Data(array, Kind.F32)
