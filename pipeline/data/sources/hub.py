"""A data set of the Hugging Face hub, by name, read as a stream or downloaded first."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.data.documents import Document
from pipeline.data.sources import Fetched, files
from pipeline.errors import UserError
from pipeline.schema.data import HubSource


def fetch(source: HubSource, downloads: Path) -> Fetched:
    """The first `max_documents` rows (all, where that is not set) in the data set's order; raises `UserError`."""
    provenance = {
        "kind": "hub",
        "name": source.name,
        "config": source.config,
        "revision": source.revision,
        "split": source.split,
        "max_documents": source.max_documents,
    }
    return Fetched(_documents(_load(source), source), provenance, source.max_documents)


def _load(source: HubSource) -> Iterable[Any]:
    import datasets
    import httpx

    try:
        rows: Iterable[Any] = datasets.load_dataset(
            source.name, source.config, split=source.split, revision=source.revision, streaming=source.streaming
        )
    except (OSError, ValueError, httpx.HTTPError, datasets.exceptions.DatasetsError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"data set {source.name!r} cannot be had ({first}): check name, config, split, revision and connection") from None
    return rows


def _documents(rows: Iterable[Any], source: HubSource) -> Iterator[Document]:
    for number, row in enumerate(islice(rows, source.max_documents)):
        yield Document(f"{number:012d}", files.text_of(row, source.text_field, f"row {number} of {source.name}"))
