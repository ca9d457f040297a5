"""Downloads that were verified once are kept under their SHA-256, so that a second run needs no network."""

import shutil
from collections.abc import Callable
from pathlib import Path

from pipeline import io
from pipeline.errors import UserError

PATIENCE = 3600.0


def obtain(downloads: Path, sha256: str, what: str, fetch: Callable[[Path], None]) -> Path:
    """The kept file with that hash; where there is none, `fetch(part)` must fill the file `part`, which is then checked.

    Raises `UserError` where the hash is another one; `part` is removed then. A second process waits for the first.
    """
    kept, part = downloads / sha256, downloads / f"{sha256}.part"
    with io.exclusive(downloads / f"{sha256}.lock", f"the download of {what}", PATIENCE):
        if kept.is_file() and io.sha256(kept) == sha256:
            return kept
        fetch(part)
        if (found := io.sha256(part)) != sha256:
            page = is_web_page(part)
            part.unlink()
            raise UserError(_wrong(what, found, sha256, page))
        part.replace(kept)
    return kept


def copy(source: Path, part: Path) -> None:
    """Fill `part` from a file of this machine."""
    shutil.copyfile(source, part)


def is_web_page(file: Path) -> bool:
    """Whether a file begins like HTML."""
    with file.open("rb") as stream:
        start = stream.read(1024).lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html"))


def _wrong(what: str, found: str, expected: str, page: bool) -> str:
    if page:
        return (
            f"{what} gave a web page instead of the data (SHA-256 {found}, pinned is {expected}): open the address in a browser to see why"
        )
    return f"{what} has SHA-256 {found}, but {expected} is pinned: it is not the file that was meant, or the pin is wrong"
