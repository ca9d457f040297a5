"""Stage `download`: raw documents and where they are from."""

from collections.abc import Iterator

from pipeline import io, paths
from pipeline.data import documents
from pipeline.data.arithmetic import generate
from pipeline.data.documents import Document
from pipeline.data.sources import Fetched, fetch
from pipeline.schema.data import ArithmeticDataset
from pipeline.stages.runner import Stage


def run(stage: Stage) -> None:
    """Write documents.jsonl and source.json."""
    block = stage.config.datasets[stage.dataset]
    folder = paths.raw(stage.dataset)
    generated = isinstance(block, ArithmeticDataset)
    fetched = (
        Fetched(_equations(block, stage.config.seed), {"kind": "generated"})
        if generated
        else fetch(block.source, paths.private() / "downloads")
    )
    totals = documents.write(stage.out(folder / "documents.jsonl"), fetched.documents, ordered=not generated)
    io.write_json(stage.out(folder / "source.json"), fetched.provenance | totals._asdict())


def _equations(block: ArithmeticDataset, seed: int) -> Iterator[Document]:
    return (Document(text.partition("=")[0], text) for text in generate(block, seed))
