"""Small digits for tests: a ready data set with random features, and configurations of the family `pentary` for it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline import io
from pipeline.data import features, shards, tokenizers
from pipeline.data.digits import CLASSES
from pipeline.models.pentary import classifier
from pipeline.schema.families import Pentary

VOCABULARY = 300
FEATURES = {
    "image": {"name": "image", "shape": [8, 8], "mean": 4.9, "deviation": 6.0},
    "text": {"name": "text", "shape": [5], "mean": 0.0, "deviation": 1.0},
    "audio": {"name": "audio", "shape": [12, 6], "mean": 110.0, "deviation": 45.0},
}
TOPS = {"image": 16, "text": 250, "audio": 210}


def architecture(**sizes: Any) -> Pentary:
    return Pentary.model_validate(sizes)


def configuration(block: Pentary, modalities: tuple[str, ...] = tuple(FEATURES)) -> dict[str, Any]:
    """config.json of a model."""
    described = [FEATURES[name] for name in modalities]
    ours = {"task": "classification", "training_key": "0", "features": described, "classes": list(CLASSES)}
    return classifier.configuration(block, VOCABULARY, VOCABULARY - 1, ours)


def samples(count: int, modalities: tuple[str, ...] = tuple(FEATURES), seed: int = 5) -> Tensor:
    """Inputs [count, F] at random, all modalities there; sentences end in padding."""
    stream = np.random.default_rng(seed)
    parts = []
    for name in modalities:
        values = stream.integers(0, TOPS[name] + 1, (count, *FEATURES[name]["shape"]))
        if name == "text":
            values[:, 3:] = 0
        parts.append(torch.from_numpy(values))
    return features.join(torch.ones(count, len(modalities)), parts)


def ready(folder: Path, rows: int = 40) -> dict[str, Any]:
    """Write a ready data set whose classes can be learnt: each has a pattern of its own in every modality. Returns its dataset.json."""
    folder.mkdir(parents=True)
    patterns = {name: np.random.default_rng(7).integers(0, TOPS[name], (len(CLASSES), *entry["shape"])) for name, entry in FEATURES.items()}
    for number, split in enumerate(("train", "validation", "test")):
        stream = np.random.default_rng(number)
        labels = np.arange(rows) % len(CLASSES)
        order = np.argsort(labels, kind="stable").astype(np.uint32)
        tensors = {"label": labels[order].astype(np.uint8)}
        for name in FEATURES:
            noisy = np.where(stream.random((rows, *FEATURES[name]["shape"])) < 0.1, 1, patterns[name][labels])
            tensors |= {name: noisy.astype(np.uint16), f"{name}.label": labels.astype(np.uint8), f"{name}.row": order}
        shards.write(folder / f"{split}.safetensors", tensors)
    tokenizers.byte_pairs(CLASSES, VOCABULARY).save(folder / "tokenizer.json", folder / "tokenizer_config.json")
    head = {"kind": "classification", "name": "digits", "vocab_size": VOCABULARY, "classes": list(CLASSES)}
    totals = {"tokens": rows, "sha256": "0" * 64}
    dataset = {
        **head,
        "features": list(FEATURES.values()),
        "splits": dict.fromkeys(("train", "validation", "test"), totals),
        "source": {"kind": "digits"},
    }
    io.write_json(folder / "dataset.json", dataset)
    return dataset
