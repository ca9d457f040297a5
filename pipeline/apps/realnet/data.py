"""Arrays and lists as what a RealNet takes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.models.realnet import inputs


def to_tensor(data: Any, device: str | torch.device = "cpu") -> Tensor:
    """A tensor, array, list or number on `device`: floats become float32, whole numbers int64 (tokens, labels)."""
    tensor = data if isinstance(data, Tensor) else torch.as_tensor(np.asarray(data))
    if tensor.is_floating_point():
        return tensor.to(device, torch.float32)
    if tensor.dtype == torch.bool:
        return tensor.to(device, torch.float32)
    return tensor.to(device, torch.int64)


def prepare_input(
    input_features: Any, model_input_ids: Sequence[int], num_neurons: int, device: str | torch.device = "cpu"
) -> tuple[Tensor, int]:
    """Features on the neurons that they belong to, and the batch's size: (x, B).

    [B, I] becomes [B, N] and [B, S, I] becomes [B, S, N], zero at all other neurons; tokens [B, S] become one-hot pulses [B, S, N].
    `ValueError` where the number of features is not that of `model_input_ids`.
    """
    x = to_tensor(input_features, device)
    inputs.check_shape(x)
    if not x.is_floating_point():
        x = inputs.one_hot(x, len(model_input_ids))
    if x.shape[-1] != len(model_input_ids):
        raise ValueError(f"input_features {list(x.shape)} must end with {len(model_input_ids)} features, one an input neuron")
    full = x.new_zeros(*x.shape[:-1], num_neurons)
    full[..., list(model_input_ids)] = x
    return full, x.shape[0]
