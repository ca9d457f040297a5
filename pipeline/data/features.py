"""How the features of several modalities stand side by side in a classification task's inputs.

    inputs float32 [B, F] = the features of each modality, as raw as they are stored, then the presence (0 or 1) of each:
    image [H, W] pixels, text [T] token ids raised by one (0 is padding), audio [T, M] levels of a mel spectrogram

dataset.json and a model's config.json hold the layout under `features`: name -> shape, and the mean and deviation of the training split.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Feature(NamedTuple):
    """One modality."""

    name: str
    shape: tuple[int, ...]
    mean: float
    deviation: float

    @property
    def size(self) -> int:
        """Numbers in a sample."""
        return prod(self.shape)

    def normal(self, x: Tensor) -> Tensor:
        """Raw values with mean 0 and deviation 1 over the training split."""
        return (x - self.mean) / self.deviation


def layout(config: Mapping[str, Any]) -> list[Feature]:
    """The modalities of a dataset.json, or of the section `quintet` of a config.json, in their order."""
    return [Feature(each["name"], tuple(each["shape"]), each["mean"], each["deviation"]) for each in config["features"]]


def width(features: Sequence[Feature]) -> int:
    """F: the length of a row of inputs."""
    return sum(feature.size for feature in features) + len(features)


def join(presence_BM: Tensor, parts: Sequence[Tensor]) -> Tensor:
    """Inputs [B, F]; features of what is absent become 0."""
    shown = [part.flatten(1).float() * presence_BM[:, i, None] for i, part in enumerate(parts)]
    return torch.cat([*shown, presence_BM.float()], 1)


def split(inputs_BF: Tensor, features: Sequence[Feature]) -> tuple[Tensor, list[Tensor]]:
    """The way back: presence [B, M], and each modality's features [B, *shape]."""
    *parts, presence_BM = inputs_BF.split([*(feature.size for feature in features), len(features)], 1)
    return presence_BM, [part.unflatten(1, feature.shape) for part, feature in zip(parts, features, strict=True)]


def only(inputs_BF: Tensor, features: Sequence[Feature], chosen: Sequence[int]) -> Tensor:
    """The same inputs without the modalities that are not `chosen`."""
    presence_BM, parts = split(inputs_BF, features)
    kept = torch.zeros_like(presence_BM)
    kept[:, list(chosen)] = presence_BM[:, list(chosen)]
    return join(kept, parts)


def subsets(count: int) -> list[tuple[int, ...]]:
    """Every subset of `count` modalities that is not empty, single ones first, all together last."""
    return [chosen for size in range(1, count + 1) for chosen in combinations(range(count), size)]
