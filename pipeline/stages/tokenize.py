"""Stage `tokenize`: cleaned, split and tokenized data, ready for training."""

from pathlib import Path
from typing import Any

from pipeline import io, paths
from pipeline.data import language, problems, ready
from pipeline.data.digits import prepare
from pipeline.stages.runner import Stage

PREPARE: dict[str, Any] = {"text": language.prepare, "arithmetic": problems.prepare, "digits": prepare.prepare}


def run(stage: Stage) -> None:
    """Write the shards of all splits, the tokenizer and dataset.json."""
    block = stage.config.datasets[stage.dataset]
    raw, folder = paths.raw(stage.dataset), paths.ready(stage.dataset)

    def out(name: str) -> Path:
        return stage.out(folder / name)

    summary = PREPARE[block.kind](stage.dataset, raw / "documents.jsonl", block, stage.config.seed, out)
    files = {split: out(f"{split}.safetensors") for split in paths.SPLITS}
    io.write_json(out("dataset.json"), ready.finish(summary, files, io.read_json(raw / "source.json")))
