"""Reading archives without trusting them."""

import fnmatch
import zipfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.data.documents import Document
from pipeline.errors import UserError


def documents(file: Path, include: str, what: str) -> Iterator[Document]:
    """Text files of an archive whose names match, in the order of their names."""
    with zipfile.ZipFile(file) as archive:
        chosen = sorted(name for name in archive.namelist() if fnmatch.fnmatchcase(name, include))
        if not chosen:
            raise UserError(f"nothing in {what} matches include = {include!r}: correct the pattern")
        for name in chosen:
            yield Document(name, archive.read(name).decode("utf-8"))
