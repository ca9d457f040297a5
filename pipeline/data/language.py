"""A text data set made ready: cleaned documents, split, tokenized into shards."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.data import documents, duplicates, shards, splits, tokenizers
from pipeline.data.cleaning import clean
from pipeline.data.documents import Document
from pipeline.data.ready import empty
from pipeline.data.tokenizers import Tokenizer
from pipeline.errors import UserError
from pipeline.paths import SPLITS
from pipeline.progress import Bar
from pipeline.schema.data import TextDataset

BATCH = 1 << 22
"""Characters that are encoded together, so that memory stays bounded and all cores have work."""


class Part(NamedTuple):
    """A document, or a part of one, that lies in one split."""

    split: str
    document: str
    text: str
    begins: bool = True
    """Whether a document of the split begins here: the end-of-text token separates it from the one before."""


def prepare(name: str, raw: Path, block: TextDataset, seed: int, out: Callable[[str], Path]) -> dict[str, Any]:
    """Write shards and tokenizer by way of `out(file name)`; returns what dataset.json says. Raises `UserError`."""
    with tempfile.TemporaryDirectory() as folder:
        cleaned = Path(folder) / "documents.jsonl"
        with Bar(f"clean {name}", None, "documents") as bar:
            written = documents.write(cleaned, (Document(d.id, clean(d.text, block.cleaning)) for d in bar.each(documents.read(raw))))
        if not written.characters:
            raise UserError(f"datasets.{name}: nothing is left of the text after cleaning: change the cleaning or the source")
        divide = divider(cleaned, block, seed)
        with Bar(f"fit tokenizer {name}", None, "characters") as bar:
            tokenizer = fit(block, (part.text for part in _counted(divide(), bar) if part.split == "train"))
        tokenizer.save(out("tokenizer.json"), out("tokenizer_config.json"))
        with Bar(f"tokenize {name}", written.characters, "characters") as bar:
            totals = _write(_counted(divide(), bar), tokenizer, out)
    return {"kind": "language", "name": name, "vocab_size": tokenizer.vocab_size, "splits": totals}


def _counted(parts: Iterable[Part], bar: Bar) -> Iterator[Part]:
    for part in parts:
        yield part
        bar.advance(len(part.text))


def divider(cleaned: Path, block: TextDataset, seed: int) -> Callable[[], Iterator[Part]]:
    """What gives the parts of all documents with their splits, as often as it is called."""
    if block.split.method == "contiguous":
        cuts = splits.contiguous_cuts(sum(len(d.text) for d in documents.read(cleaned)), block.split)
        return lambda: _cut(documents.read(cleaned), cuts)
    with Bar("compare documents", None, "documents") as bar:
        group = duplicates.groups(bar.each(documents.read(cleaned)))
    sizes = dict.fromkeys(group.values(), 0)
    for document in documents.read(cleaned):
        sizes[group[document.id]] += len(document.text)
    chosen = splits.by_size(seed, sizes, block.split)
    return lambda: (Part(chosen[group[d.id]], d.id, d.text) for d in documents.read(cleaned))


def _cut(texts: Iterable[Document], cuts: tuple[int, int]) -> Iterator[Part]:
    """Parts of the documents before, between and after two places of the whole text."""
    start = 0
    for document in texts:
        size = len(document.text)
        bounds = [0, *(min(max(cut - start, 0), size) for cut in cuts), size]
        for split, begin, end in zip(SPLITS, bounds, bounds[1:], strict=False):
            if end > begin:
                yield Part(split, document.id, document.text[begin:end])
        start += size


def fit(block: TextDataset, training_texts: Iterable[str]) -> Tokenizer:
    """The tokenizer of a block, which learns from the training split only."""
    match block.tokenizer.kind:
        case "characters":
            alphabet: set[str] = set()
            for text in training_texts:
                alphabet.update(text)
            if not alphabet:
                raise empty("train")
            return tokenizers.characters(alphabet, unknown=block.tokenizer.unknown == "unk")
        case "bpe":
            return tokenizers.byte_pairs(training_texts, block.tokenizer.vocab_size)
        case "gpt2":
            return tokenizers.gpt2(block.tokenizer.path)


def batches(parts: Iterable[Part], size: int = BATCH) -> Iterator[list[Part]]:
    """Lists of parts with about `size` characters together; parts that are longer come in pieces."""
    batch: list[Part] = []
    held = 0
    for part in parts:
        for number, piece in enumerate(tokenizers.pieces(part.text, size)):
            batch.append(part._replace(text=piece, begins=number == 0))
            held += len(piece)
            if held >= size:
                yield batch
                batch, held = [], 0
    if batch:
        yield batch


def _write(parts: Iterable[Part], tokenizer: Tokenizer, out: Callable[[str], Path]) -> dict[str, Any]:
    """Write the shards of all splits and return their sizes; documents are separated by the end-of-text token."""
    totals = {split: dict.fromkeys(("tokens", "documents", "bytes", "characters", "unknown"), 0) for split in SPLITS}
    dtype, separator = shards.token_dtype(tokenizer.vocab_size), np.array([tokenizer.eos])
    with ExitStack() as stack:
        writers = {split: stack.enter_context(shards.Writer(out(f"{split}.safetensors"), "tokens", dtype)) for split in SPLITS}
        for batch in batches(parts):
            for part, ids in zip(batch, _encode(batch, tokenizer), strict=True):
                count, writer = totals[part.split], writers[part.split]
                if part.begins and count["documents"]:
                    writer.append(separator)
                writer.append(ids)
                count["documents"] += part.begins
                count["characters"] += len(part.text)
                count["bytes"] += len(part.text.encode())
                count["unknown"] += int((ids == tokenizer.unknown).sum()) if tokenizer.unknown is not None else 0
                count["tokens"] = writer.length
    return totals


def _encode(batch: list[Part], tokenizer: Tokenizer) -> list[tokenizers.Ids]:
    try:
        return tokenizer.encode_batch([part.text for part in batch])
    except tokenizers.UnknownCharacter as error:
        part = next(part for part in batch if error.character in part.text)
        raise UserError(f"document {part.document!r}, {part.split} split: {error}") from None
