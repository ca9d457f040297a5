"""One split of a ready data set for classification, in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.data import features
from pipeline.data.features import Feature

Array = npt.NDArray[Any]


class Samples:
    """The tensors of a shard (see `pipeline.data.digits.prepare`). Shapes: S samples, M modalities, B of the samples."""

    def __init__(self, shard: Mapping[str, Array], layout: Sequence[Feature]) -> None:
        self.layout = layout
        self.labels = np.asarray(shard["label"]).astype(np.int64)
        self.rows_SM = np.stack([np.asarray(shard[f"{feature.name}.row"]).astype(np.int64) for feature in layout], 1)
        self.features = [torch.from_numpy(np.asarray(shard[feature.name]).astype(np.float32)) for feature in layout]
        own = [np.asarray(shard[f"{feature.name}.label"]) for feature in layout]
        self.members = [[np.flatnonzero(labels == label) for label in range(int(self.labels.max()) + 1)] for labels in own]

    def __len__(self) -> int:
        return len(self.labels)

    def parts(self, rows_BM: Array) -> list[Tensor]:
        """Features [B, *shape] of each modality by their rows."""
        return [values[torch.from_numpy(rows_BM[:, i])] for i, values in enumerate(self.features)]

    def inputs(self, samples: Array) -> Tensor:
        """Inputs [B, F] of some samples with all modalities."""
        return features.join(torch.ones(len(samples), len(self.layout)), self.parts(self.rows_SM[samples]))
