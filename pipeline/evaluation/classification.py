"""Classification: accuracy on the test split, with all modalities and with every subset of them, and who is taken for whom."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from pipeline.data import features, shards, tokenizers
from pipeline.data.samples import Samples
from pipeline.evaluation import Verdict
from pipeline.evaluation.intervals import wilson
from pipeline.models.base import Model
from pipeline.schema.models import Evaluation

AT_ONCE = 256
SHOWN = 20
"""Samples shown of each model, and as many of its errors at most."""

Array = npt.NDArray[Any]


class Judge:
    """Judges by the most likely class.

    With all modalities every sample of the split counts; with a subset of them each different combination of its rows once.
    """

    def __init__(self, config: Mapping[str, Any], ready: Path, settings: Evaluation, seed: int) -> None:
        self.ready, self.layout = ready, features.layout(config["quintet"])
        self.classes: list[str] = config["quintet"]["classes"]
        self.test = self._samples("test")
        self.tokenizer = tokenizers.load(ready)

    def _samples(self, split: str) -> Samples:
        return Samples(shards.open(self.ready / f"{split}.safetensors"), self.layout)

    def verdict(self, model: Model) -> Verdict:
        """Accuracy with its 95 % interval, loss, and accuracy of every subset; the detail is the class given to each sample [S]."""
        began = time.perf_counter()
        logits_SC = self._logits(model, np.arange(len(self.test)), range(len(self.layout)))
        speed = {"samples_per_second": len(self.test) / (time.perf_counter() - began)}
        given_S = logits_SC.argmax(1).numpy()
        right = int((given_S == self.test.labels).sum())
        low, high = wilson(right, len(self.test))
        figures = {"accuracy": right / len(self.test), "accuracy_low": low, "accuracy_high": high, "samples": len(self.test)}
        loss = F.cross_entropy(logits_SC.double(), torch.from_numpy(self.test.labels)).item()
        return Verdict({**figures, "loss": loss, "subsets": self._subsets(model)}, given_S, speed)

    def _subsets(self, model: Model) -> dict[str, float]:
        found = {}
        for chosen in features.subsets(len(self.layout))[:-1]:
            _, samples = np.unique(self.test.rows_SM[:, list(chosen)], axis=0, return_index=True)
            given = self._logits(model, samples, chosen).argmax(1).numpy()
            name = "_and_".join(self.layout[i].name for i in chosen)
            found[f"accuracy_{name}"] = float((given == self.test.labels[samples]).mean())
        return found

    @torch.inference_mode()
    def _logits(self, model: Model, samples: Array, chosen: Sequence[int]) -> torch.Tensor:
        """[N, C] for samples of which only the chosen modalities are there."""
        parts = [samples[start : start + AT_ONCE] for start in range(0, len(samples), AT_ONCE)]
        return torch.cat([model(features.only(self.test.inputs(part), self.layout, chosen))[0][:, 0] for part in parts])

    def baselines(self) -> dict[str, dict[str, float]]:
        """The training split's most frequent class, and logistic regression on pixels, levels and counts of tokens."""
        from sklearn.linear_model import LogisticRegression

        train = self._samples("train")
        counts = np.bincount(train.labels)
        columns = [self._flat(samples) for samples in (train, self.test)]
        linear = LogisticRegression(max_iter=300, C=0.1).fit(columns[0], train.labels)
        return {
            "majority_class": {"accuracy": float((self.test.labels == counts.argmax()).mean())},
            "logistic_regression": {"accuracy": float((linear.predict(columns[1]) == self.test.labels).mean())},
        }

    def _flat(self, samples: Samples) -> Array:
        vocabulary = np.arange(1, self.tokenizer.vocab_size + 1)
        columns = []
        for i, feature in enumerate(self.layout):
            values = samples.features[i]
            if feature.name == "text":
                found = np.stack([np.isin(vocabulary, row) for row in values.numpy()]).astype(np.float32)
            else:
                found = feature.normal(values).flatten(1).numpy()
            columns.append(found[samples.rows_SM[:, i]])
        return np.concatenate(columns, 1)

    def table(self, verdicts: Mapping[str, Verdict]) -> list[dict[str, Any]]:
        """A row a sample: its class, and the one that each model gives it, from which confusion matrices are drawn."""
        given = {name: verdict.detail for name, verdict in verdicts.items()}
        return [
            {"actual": self.classes[label]} | {name: self.classes[classes[i]] for name, classes in given.items()}
            for i, label in enumerate(self.test.labels)
        ]

    def samples(self, judged: Mapping[str, tuple[Model, Verdict]]) -> str:
        """Samples evenly spread over the split, and the first of the other errors, each marked right or wrong."""
        return "\n".join(f"=== {name} ===\n{self._sample(verdict.detail)}\n" for name, (_, verdict) in judged.items())

    def _sample(self, given_S: Array) -> str:
        wrong_S = given_S != self.test.labels
        spread = np.linspace(0, len(given_S) - 1, min(SHOWN, len(given_S))).astype(int).tolist()
        errors = [i for i in np.flatnonzero(wrong_S).tolist() if i not in spread][:SHOWN]
        head = f"{int((~wrong_S).sum())} of {len(given_S)} held-out samples right"
        return "\n".join([head, *(self._line(i, int(given_S[i])) for i in [*spread, *errors])])

    def _line(self, sample: int, given: int) -> str:
        actual = self.classes[self.test.labels[sample]]
        verdict = f"right  {actual}" if self.classes[given] == actual else f"wrong  {self.classes[given]} (it is {actual})"
        return f"{verdict}  {self._seen(sample)}".rstrip()

    def _seen(self, sample: int) -> str:
        """The sample's sentence, where it has one, and which rows of the other modalities it is made of."""
        parts = []
        for i, feature in enumerate(self.layout):
            row = int(self.test.rows_SM[sample, i])
            if feature.name == "text":
                ids = self.test.features[i][row].long()
                parts.append(repr(self.tokenizer.decode((ids[ids > 0] - 1).tolist())))
            else:
                parts.append(f"{feature.name} {row}")
        return "  ".join(parts)
