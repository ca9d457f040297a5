"""An arithmetic data set made ready: equations split by their operands, encoded into rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.data import documents, shards, splits
from pipeline.data.arithmetic import codec_for, group, parse
from pipeline.paths import SPLITS
from pipeline.progress import Bar
from pipeline.schema.data import ArithmeticDataset


def prepare(name: str, raw: Path, block: ArithmeticDataset, seed: int, out: Callable[[str], Path]) -> dict[str, Any]:
    """Write shards and tokenizer by way of `out(file name)`; returns what dataset.json says. Raises `UserError`."""
    codec = codec_for(block)
    chosen: dict[str, list[str]] = {split: [] for split in SPLITS}
    with Bar(f"split {name}", None, "equations") as bar:
        for document in bar.each(documents.read(raw)):
            chosen[splits.by_hash(seed, group(parse(document.text).operands), block.split)].append(document.text)
    codec.tokenizer().save(out("tokenizer.json"), out("tokenizer_config.json"))
    with Bar(f"encode {name}", sum(map(len, chosen.values())), "equations") as bar:
        for split, texts in chosen.items():
            rows = codec.encode_rows(bar.each(texts))
            shards.write(out(f"{split}.safetensors"), {"tokens": rows}, {"prompt_length": str(codec.prompt_length)})
    totals = {split: _totals(texts, codec.row_length) for split, texts in chosen.items()}
    return {"kind": "arithmetic", "name": name, "vocab_size": codec.vocab_size, "splits": totals, "codec": codec.to_dict()}


def _totals(texts: list[str], row_length: int) -> dict[str, Any]:
    size = sum(map(len, texts))  # ASCII: a byte a character
    return {"tokens": len(texts) * row_length, "documents": len(texts), "bytes": size, "characters": size}
