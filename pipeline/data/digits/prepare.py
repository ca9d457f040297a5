"""A digits data set made ready: features as whole numbers, splits that share nothing, and rows that put modalities together.

A shard holds each modality's features once, `MODALITY` [N, ...], with `MODALITY.label` [N], and samples as row numbers `MODALITY.row` [S],
all of one `label` [S]. In a class the rarer modality repeats, so that every image, sentence and recording occurs.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.data import documents, shards, splits, tokenizers
from pipeline.data.digits import CLASSES, mel, waves
from pipeline.data.ready import empty
from pipeline.data.tokenizers import Tokenizer
from pipeline.errors import UserError
from pipeline.paths import SPLITS
from pipeline.progress import Bar
from pipeline.schema.data import DigitsDataset

Array = npt.NDArray[Any]
LONGEST = 64
"""Tokens of a sentence, at most."""


class Item(NamedTuple):
    """One document: what must not be in two splits, its class, and its text."""

    group: str
    label: int
    id: str
    text: str


Chosen = dict[str, list[Item]]
"""The items of one modality by split."""


def prepare(name: str, raw: Path, block: DigitsDataset, seed: int, out: Callable[[str], Path]) -> dict[str, Any]:
    """Write shards and tokenizer by way of `out(file name)`; returns what dataset.json says. Raises `UserError`."""
    items: dict[str, list[Item]] = {modality: [] for modality in block.modalities}
    for document in documents.read(raw):
        modality, label, *source = document.id.split("/")
        group = source[0] if modality == "audio" else document.text
        items[modality].append(Item(group, int(label), document.id, document.text))
    chosen = {modality: _divide(found, modality, block, seed) for modality, found in items.items()}
    sentences = [item.text for item in chosen["text"]["train"]] if "text" in chosen else list(CLASSES)
    tokenizer = tokenizers.byte_pairs(sentences, block.tokenizer.vocab_size)
    tokenizer.save(out("tokenizer.json"), out("tokenizer_config.json"))
    with Bar(f"features {name}", sum(map(len, items.values())), "documents") as bar:
        arrays = {modality: _features(modality, found, tokenizer, bar) for modality, found in chosen.items()}
    totals = {split: _write(out(f"{split}.safetensors"), split, chosen, arrays) for split in SPLITS}
    features = [_described(modality, by_split["train"]) for modality, by_split in arrays.items()]
    head = {"kind": "classification", "name": name, "vocab_size": tokenizer.vocab_size, "classes": list(CLASSES)}
    return {**head, "features": features, "splits": totals}


def _divide(items: Sequence[Item], modality: str, block: DigitsDataset, seed: int) -> Chosen:
    """Recordings by speaker; images and sentences each by its own content, so that two that are equal stay together."""
    if modality == "audio":
        sizes: dict[str, int] = {}
        for item in items:
            sizes[item.group] = sizes.get(item.group, 0) + 1
        of = splits.by_size(seed, sizes, block.split)
    else:
        of = {item.group: splits.by_hash(seed, f"{modality}/{item.group}", block.split) for item in items}
    return {split: [item for item in items if of[item.group] == split] for split in SPLITS}


def _features(modality: str, chosen: Chosen, tokenizer: Tokenizer, bar: Bar) -> dict[str, Array]:
    """Features [N, ...] of each split."""
    if modality == "text":
        ids = {split: tokenizer.encode_batch([item.text for item in bar.each(items)]) for split, items in chosen.items()}
        length = min(LONGEST, max((len(row) for row in ids["train"]), default=1))
        return {split: _padded(rows, length) for split, rows in ids.items()}
    read = pixels if modality == "image" else _levels
    found = {split: [read(item) for item in bar.each(items)] for split, items in chosen.items()}
    return {split: np.stack(rows) if rows else np.zeros((0, 1), np.uint8) for split, rows in found.items()}


def pixels(item: Item) -> Array:
    """uint8 [H, W] of a plain graymap; raises `UserError`."""
    try:
        kind, width, height, top, *values = item.text.split()
        if (kind, top) != ("P2", "16"):
            raise ValueError(f"{kind} with values up to {top}")
        return np.array(values, np.uint8).reshape(int(height), int(width))
    except ValueError as error:
        raise UserError(f"{item.id} is no plain graymap of values up to 16 ({error}): run the stage `download` again") from None


def _levels(item: Item) -> Array:
    return mel.levels(*waves.read(item.text, item.id))


def _padded(rows: Sequence[Array], length: int) -> Array:
    """Ids raised by one, uint16 [N, T]: longer rows are cut, shorter ones filled up with 0."""
    padded = np.zeros((len(rows), length), np.uint16)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row[:length] + 1
    return padded


def _write(path: Path, split: str, chosen: dict[str, Chosen], arrays: dict[str, dict[str, Array]]) -> dict[str, Any]:
    tensors: dict[str, Array] = {}
    places: dict[str, list[Array]] = {}
    for modality, by_split in chosen.items():
        labels = np.array([item.label for item in by_split[split]], np.uint8)
        tensors |= {modality: arrays[modality][split], f"{modality}.label": labels}
        places[modality] = [np.flatnonzero(labels == label) for label in range(len(CLASSES))]
        if min(map(len, places[modality])) == 0:
            raise empty(split)
    counts = [max(len(found[label]) for found in places.values()) for label in range(len(CLASSES))]
    for modality, found in places.items():
        rows = [np.resize(part, count) for part, count in zip(found, counts, strict=True)]
        tensors[f"{modality}.row"] = np.concatenate(rows).astype(np.uint32)
    tensors["label"] = np.repeat(np.arange(len(CLASSES), dtype=np.uint8), counts)
    shards.write(path, tensors)
    return {"tokens": sum(counts), "documents": sum(len(by_split[split]) for by_split in chosen.values())}


def _described(modality: str, train: Array) -> dict[str, Any]:
    """An entry of `features`; token ids are no quantities and stay as they are."""
    mean, deviation = (0.0, 1.0) if modality == "text" else (float(train.mean()), float(train.std()))
    return {"name": modality, "shape": list(train.shape[1:]), "mean": round(mean, 3), "deviation": max(round(deviation, 3), 0.001)}
