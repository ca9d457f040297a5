"""Classification: samples of one or several modalities, each with one class.

`Batch.inputs` is float32 [B, F] (`pipeline.data.features`: all modalities' features side by side, then the presence of each), `targets`
int64 [B, 1], logits [B, 1, C]: a sample is a sequence of one position. In training, an epoch takes each row of the first modality about
once, in an order of its own, and draws the others' rows anew out of the same class.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline import rng
from pipeline.data import features, sampler
from pipeline.data.samples import Samples
from pipeline.models.base import Model
from pipeline.training import augmentation
from pipeline.training.tasks import Array, Batch, Sums, Task

AT_ONCE = 256
"""Samples of a batch of evaluation."""


class Classification(Task):
    """The class of each sample."""

    def __init__(self, shards: Mapping[str, Mapping[str, Array]], settings: Any, seed: int, dataset: Mapping[str, Any]) -> None:
        self.layout, self.classes = features.layout(dataset), list(dataset["classes"])
        self.samples = {split: Samples(shard, self.layout) for split, shard in shards.items()}
        super().__init__({split: samples.labels for split, samples in self.samples.items()}, settings, seed)
        self.subsets = features.subsets(len(self.layout))[:-1]
        self._settle(1, len(self.samples["train"]))

    def batch(self, step: int) -> Batch:
        train, s = self.samples["train"], self.settings
        chosen = sampler.row_batch(len(train), self.seed, step, self.sequences)
        stream = np.random.Generator(np.random.PCG64(rng.derive(self.seed, "classification", step)))
        rows_BM = train.rows_SM[chosen].copy()
        for m, members in enumerate(train.members[1:], 1):
            places = stream.random(len(chosen))
            rows_BM[:, m] = [members[k][int(u * len(members[k]))] for k, u in zip(train.labels[chosen], places, strict=True)]
        presence_BM = np.ones(rows_BM.shape, np.float32)
        for i in np.flatnonzero(stream.random(len(chosen)) < s.modality_dropout) if self.subsets else ():
            presence_BM[i] = 0
            presence_BM[i, list(self.subsets[stream.integers(len(self.subsets))])] = 1
        parts = train.parts(rows_BM)
        if s.augment:
            parts = [augmentation.augment(part, each, s.augment, stream) for part, each in zip(parts, self.layout, strict=True)]
        return Batch(features.join(torch.from_numpy(presence_BM), parts), torch.from_numpy(train.labels[chosen])[:, None])

    def loss(self, inputs_BF: Tensor, logits_BAC: Tensor, targets_B1: Tensor) -> Tensor:
        """Of a network that answers several times, the mean over its answers."""
        answers = logits_BAC.shape[1]
        return super().loss(inputs_BF, logits_BAC, targets_B1.expand(-1, answers)) / answers

    def whole(self, split: str, limit: int | None = None) -> Iterator[Batch]:
        """All modalities of every sample, or of `limit` samples evenly spread: they are in the order of their classes."""
        samples = self.samples[split]
        chosen = np.linspace(0, len(samples) - 1, min(limit or len(samples), len(samples))).astype(np.int64)
        for part in np.split(chosen, range(AT_ONCE, len(chosen), AT_ONCE)):
            yield Batch(samples.inputs(part), torch.from_numpy(samples.labels[part])[:, None])

    def summary(self, sums: Sequence[Sums], rows: int) -> dict[str, float]:
        """Adds `accuracy` to the loss."""
        return {**super().summary(sums, rows), "accuracy": sum(s.exact_rows.item() for s in sums) / rows}

    def score(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        return (-metrics["accuracy"] - metrics.get("accuracy_alone", 0.0), metrics["loss"])

    @torch.inference_mode()
    def evaluate(self, module: Model, split: str, limit: int | None = None) -> dict[str, float]:
        """Adds `accuracy_alone`: the mean over the modalities of the accuracy with nothing but one."""
        metrics = super().evaluate(module, split, limit)
        if not self.subsets:
            return metrics
        right, judged = 0, 0
        for batch in self.whole(split, limit):
            for m in range(len(self.layout)):
                inputs = features.only(batch.inputs, self.layout, (m,)).to(module.device)
                right += int((module(inputs)[0].argmax(-1).cpu() == batch.targets).sum())
                judged += len(inputs)
        return {**metrics, "accuracy_alone": right / judged}

    @torch.inference_mode()
    def sample(self, module: Model) -> str:
        """A few samples of the validation split with the class that the model gives each."""
        batch = next(self.whole("validation", 2 * len(self.classes)))
        logits, _ = module(batch.inputs.to(module.device))
        pairs = zip(batch.targets[:, 0].tolist(), logits[:, 0].argmax(-1).tolist(), strict=True)
        return "\n".join(f"{self.classes[target]}: {self.classes[got]}" for target, got in pairs)
