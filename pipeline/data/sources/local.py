"""A file or folder of this machine."""

from collections.abc import Iterator
from pathlib import Path

from pipeline import io
from pipeline.data.documents import Document
from pipeline.data.sources import Fetched, archive, files
from pipeline.errors import UserError
from pipeline.schema.data import LocalSource


def fetch(source: LocalSource, downloads: Path) -> Fetched:
    """The documents of the file, or of the files below the folder that fit `include`; raises `UserError`."""
    root = Path(source.path)
    if not root.exists():
        raise UserError(f"source.path = {source.path!r} does not exist: correct it (it is relative to {Path.cwd()})")
    sha256 = io.sha256(root)
    if source.sha256 not in (None, sha256):
        raise UserError(f"{root} has SHA-256 {sha256}, but {source.sha256} is pinned: bring the file back, or pin the new one")
    return Fetched(_documents(root, source), {"kind": "local", "path": source.path, "sha256": sha256})


def _documents(root: Path, source: LocalSource) -> Iterator[Document]:
    if root.is_file():
        if archive.is_archive(root):
            return archive.documents(root, source.include, source.text_field, str(root))
        return files.documents(root, root.name, source.text_field)
    return _folder(root, source)


def _folder(root: Path, source: LocalSource) -> Iterator[Document]:
    fits = files.matcher(source.include)
    names = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    chosen = sorted(name for name in names if fits(name) and not any(part.startswith(".") for part in Path(name).parts))
    if not chosen:
        raise UserError(f"nothing in {root} fits include = {source.include!r}: correct the pattern (hidden files are left out)")
    for name in chosen:
        yield from files.documents(names[name], name, source.text_field)
