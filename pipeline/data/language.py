"""A text data set made ready: cleaned documents, split, tokenized into shards."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data import documents, shards, splits, tokenizers
from pipeline.data.cleaning import clean
from pipeline.data.tokenizers import Tokenizer
from pipeline.paths import SPLITS
from pipeline.schema.data import TextDataset


def prepare(name: str, raw: Path, block: TextDataset, seed: int, out: Callable[[str], Path]) -> dict[str, Any]:
    """Write shards and tokenizer by way of `out(file name)`; returns what dataset.json says. Raises `UserError`."""
    divide = _divider(raw, block, seed)
    tokenizer = _tokenizer(block, lambda: (text for split, text in divide() if split == "train"))
    tokenizer.save(out("tokenizer.json"), out("tokenizer_config.json"))
    totals = _write(divide(), tokenizer, out)
    return {"kind": "language", "name": name, "vocab_size": tokenizer.vocab_size, "splits": totals}


def _cleaned(raw: Path, block: TextDataset) -> Iterator[tuple[str, str]]:
    for document in documents.read(raw):
        yield document.id, clean(document.text, block.cleaning)


def _divider(raw: Path, block: TextDataset, seed: int) -> Callable[[], Iterator[tuple[str, str]]]:
    sizes = {id: len(text) for id, text in _cleaned(raw, block)}
    if block.split.method == "documents":
        chosen = splits.by_size(seed, sizes, block.split)
        return lambda: ((chosen[id], text) for id, text in _cleaned(raw, block))
    return lambda: _cut(_cleaned(raw, block), splits.contiguous_cuts(sum(sizes.values()), block.split))


def _cut(texts: Iterable[tuple[str, str]], cuts: tuple[int, int]) -> Iterator[tuple[str, str]]:
    """Parts of the texts before, between and after two places of the whole."""
    start = 0
    for _, text in texts:
        bounds = [0, *(min(max(cut - start, 0), len(text)) for cut in cuts), len(text)]
        for split, begin, end in zip(SPLITS, bounds, bounds[1:], strict=False):
            if end > begin:
                yield split, text[begin:end]
        start += len(text)


def _tokenizer(block: TextDataset, training_texts: Callable[[], Iterator[str]]) -> Tokenizer:
    match block.tokenizer.kind:
        case "characters":
            alphabet: set[str] = set()
            for text in training_texts():
                alphabet.update(text)
            return tokenizers.characters(alphabet, unknown=block.tokenizer.unknown == "unk")
        case "bpe":
            return tokenizers.byte_pairs(training_texts(), block.tokenizer.vocab_size)
        case "gpt2":
            return tokenizers.gpt2(block.tokenizer.path)


def _write(texts: Iterable[tuple[str, str]], tokenizer: Tokenizer, out: Callable[[str], Path]) -> dict[str, Any]:
    """Shards of all splits; documents are separated by the end-of-text token."""
    totals = {split: {"tokens": 0, "documents": 0, "bytes": 0, "characters": 0} for split in SPLITS}
    dtype = shards.token_dtype(tokenizer.vocab_size)
    files = {split: out(f"{split}.safetensors") for split in SPLITS}
    with ExitStack() as stack:
        writers = {split: stack.enter_context(shards.Writer(file, "tokens", dtype)) for split, file in files.items()}
        for split, text in texts:
            count = totals[split]
            ids = tokenizer.encode_array(text)
            writers[split].append(np.concatenate([[tokenizer.eos], ids]) if count["documents"] else ids)
            count["tokens"] = writers[split].length
            count["documents"] += 1
            count["characters"] += len(text)
            count["bytes"] += len(text.encode())
    return totals
