"""Documents on disk: `documents.jsonl`, one canonical JSON object {"id", "text"} a line, in increasing order of id."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline import io
from pipeline.errors import UserError


class Document(NamedTuple):
    """One piece of raw text and the name that identifies it within its data set."""

    id: str
    text: str


class Totals(NamedTuple):
    """How much was written."""

    documents: int
    characters: int


def write(path: Path, documents: Iterable[Document], ordered: bool = True) -> Totals:
    """Write documents one by one, never holding more than one; raises `UserError` on an id out of order or given twice.

    `ordered=False` leaves the order to the caller (generated equations have their own).
    """
    count = characters = 0
    last = ""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for document in documents:
            if ordered and document.id <= last:
                raise UserError(f"document ids must increase, but {document.id!r} comes after {last!r}: rename one of the files")
            last = document.id
            file.write(json.dumps(document._asdict(), ensure_ascii=False, sort_keys=True) + "\n")
            count, characters = count + 1, characters + len(document.text)
    return Totals(count, characters)


def read(path: Path) -> Iterator[Document]:
    """Read documents one by one; raises `UserError` naming file and line of anything that is not a document."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                record = io.parse_json(line)
                document = Document(record["id"], record["text"])
            except (ValueError, KeyError, TypeError):
                document = None
            if document is None or not all(isinstance(part, str) for part in document):
                raise UserError(f"{path}:{number} is not a document: run the stage `download` again")
            yield document
