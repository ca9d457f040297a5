"""Stage `tokenize`: cleaned, split and tokenized data, ready for training."""

from pathlib import Path
from typing import Any

from pipeline import io, paths
from pipeline.data import language, problems, ready
from pipeline.stages.runner import Stage


def run(stage: Stage) -> None:
    """Write the shards of all splits, the tokenizer and dataset.json."""
    block = stage.config.datasets[stage.dataset]
    raw, folder = paths.raw(stage.dataset), paths.ready(stage.dataset)

    def out(name: str) -> Path:
        return stage.out(folder / name)

    prepare: Any = language.prepare if block.kind == "text" else problems.prepare
    summary = prepare(stage.dataset, raw / "documents.jsonl", block, stage.config.seed, out)
    files = {split: out(f"{split}.safetensors") for split in paths.SPLITS}
    io.write_json(out("dataset.json"), ready.finish(summary, files, io.read_json(raw / "source.json")))
