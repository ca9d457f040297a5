"""Stage `download`: raw documents and where they are from."""

from pathlib import Path
from typing import Any

from pipeline import io, paths
from pipeline.data import documents
from pipeline.data.arithmetic import generate
from pipeline.data.documents import Document
from pipeline.data.sources import Fetched, fetch
from pipeline.progress import Bar
from pipeline.schema.data import ArithmeticDataset
from pipeline.stages.runner import Stage


def run(stage: Stage) -> None:
    """Write documents.jsonl and source.json."""
    block = stage.config.datasets[stage.dataset]
    folder = paths.raw(stage.dataset)
    fetched = _fetch(block, stage.config.seed, paths.private() / "downloads")
    with Bar(f"download {stage.dataset}", fetched.expected, "documents") as bar:
        totals = documents.write(stage.out(folder / "documents.jsonl"), bar.each(fetched.documents), ordered=block.kind != "arithmetic")
    io.write_json(stage.out(folder / "source.json"), fetched.provenance | totals._asdict())


def _fetch(block: Any, seed: int, downloads: Path) -> Fetched:
    match block.kind:
        case "arithmetic":
            return _generated(block, seed)
        case "digits":
            from pipeline.data.digits import raw

            return raw.fetch(block, seed, downloads)
    return fetch(block.source, downloads)


def _generated(block: ArithmeticDataset, seed: int) -> Fetched:
    equations = (Document(text.partition("=")[0], text) for text in generate(block, seed))
    return Fetched(equations, {"kind": "generated"}, block.examples or None)
