"""What the library is given, checked: token ids, embeddings, devices. Shapes: B streams, T tokens, D components of an embedding."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Given(NamedTuple):
    """A batch, and whether it was given as one: a single sequence is a batch of one stream, and is answered without that axis."""

    tensor: Tensor
    batched: bool


def token_ids(name: str, given: Any, vocab_size: int) -> Given:
    """Ids [T] or [B, T] as a tensor [B, T]; `ValueError` that names the argument for what is no rectangle of ids, or has an unknown one."""
    ids = _array(name, given, "token ids")
    if ids.size == 0 or ids.ndim not in (1, 2):
        raise ValueError(f"{name} has the shape {list(ids.shape)}: give at least one token id, as [T] or [B, T]")
    if ids.dtype.kind not in "iu":
        raise ValueError(f"{name} holds numbers of type {ids.dtype}: token ids are whole numbers")
    wrong = np.argwhere((ids < 0) | (ids >= vocab_size))
    if len(wrong):
        place = tuple(map(int, wrong[0]))
        raise ValueError(f"{name}{list(place)} is {ids[place]}: ids of this vocabulary go from 0 to {vocab_size - 1}")
    return Given(torch.from_numpy(np.atleast_2d(ids).astype(np.int64)), ids.ndim == 2)


def vectors(name: str, given: Any, size: int, batch_axes: tuple[int, int]) -> Given:
    """Float vectors of `size` components behind one or the other number of axes; the first is batched: as a tensor with the second's."""
    x = _array(name, given, "numbers")
    if x.size == 0 or x.ndim - 1 not in batch_axes or x.shape[-1] != size:
        raise ValueError(f"{name} has the shape {list(x.shape)}: its last axis must be of {size} numbers, behind {batch_axes} others")
    if x.dtype.kind not in "fiu" or not np.isfinite(x).all():
        raise ValueError(f"{name} holds what is no finite number (type {x.dtype})")
    batched = x.ndim - 1 == max(batch_axes)
    return Given(torch.from_numpy((x if batched else x[None]).astype(np.float32)), batched)


def _array(name: str, given: Any, what: str) -> Any:
    try:
        return np.asarray(given)
    except ValueError:
        raise ValueError(f"{name} has rows of unequal lengths: {what} of a batch must be a rectangle") from None


def device(gpu_device: int | str) -> torch.device:
    """The CPU for -1 or "cpu", else the GPU of that index; `RuntimeError` for one that is not there."""
    if gpu_device in (-1, "cpu"):
        return torch.device("cpu")
    if type(gpu_device) is not int or gpu_device < 0:
        raise ValueError(f'gpu_device is {gpu_device!r}: give the index of a GPU, or -1 (or "cpu") for the CPU')
    if gpu_device >= (count := torch.cuda.device_count()):
        raise RuntimeError(f"gpu_device is {gpu_device}, but torch finds {count} CUDA devices here: choose another, or -1 for the CPU")
    return torch.device("cuda", gpu_device)
