"""Where raw text comes from: one file a kind of source, each giving documents and saying what they are."""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, cast

from pipeline.data.documents import Document


class Fetched(NamedTuple):
    """Documents in the order of their ids, and where they are from (the same on every machine and day)."""

    documents: Iterator[Document]
    provenance: dict[str, Any]
    expected: int | None = None
    """How many documents there are at most, where that is known before."""


def fetch(source: Any, downloads: Path) -> Fetched:
    """Get the documents of a source block; verified downloads are kept in `downloads` under their SHA-256. Raises `UserError`."""
    opened = import_module(f"pipeline.data.sources.{source.kind}")
    return cast("Callable[[Any, Path], Fetched]", opened.fetch)(source, downloads)
