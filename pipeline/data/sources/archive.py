"""Reading archives without trusting them: nothing is unpacked under a name that an archive chose, and nothing grows without bound.

Members that are wanted are copied to numbered temporary files. Refused are names that leave the archive, links and devices among
the wanted members, and archives with too many members or too much data for their size (bombs), counted while reading and not
taken from headers.
"""

import bz2
import contextlib
import gzip
import io
import lzma
import re
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from pipeline.data.documents import Document
from pipeline.data.sources import files
from pipeline.errors import UserError

MAX_MEMBERS = 100_000
MAX_BYTES = 8 << 30
MAX_RATIO = 200
ALWAYS_ALLOWED = 1 << 20
PIECE = 1 << 16
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")
OPENERS: dict[bytes, Callable[[Path], IO[bytes]]] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}  # type: ignore[dict-item]
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError, RuntimeError)


class _Member(NamedTuple):
    name: str
    plain: bool
    """An ordinary file; not a link, a device or a folder."""
    data: "IO[bytes] | _Metered"


class _Meter:
    """Counts what comes out of one archive."""

    def __init__(self, file: Path, what: str) -> None:
        self.what, self.members, self.bytes = what, 0, 0
        self.limit = min(MAX_BYTES, max(ALWAYS_ALLOWED, MAX_RATIO * file.stat().st_size))

    def member(self, name: str) -> None:
        self.members += 1
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or _DRIVE.match(name):
            raise UserError(f"{self.what} has a member {name!r} that would lie outside of it: do not trust this archive")
        if self.members > MAX_MEMBERS:
            raise UserError(f"{self.what} has more than {MAX_MEMBERS} members: unpack it yourself and use a local source")

    def count(self, amount: int) -> None:
        self.bytes += amount
        if self.bytes > self.limit:
            raise UserError(f"{self.what} holds more than {self.limit} bytes, too much for its size: do not trust this archive")


class _Metered(io.RawIOBase):
    """A stream whose bytes are counted as they are read."""

    def __init__(self, stream: IO[bytes], meter: _Meter) -> None:
        self.stream, self.meter = stream, meter

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size if 0 <= size < PIECE else PIECE) if size else b""
        self.meter.count(len(data))
        return data


def is_archive(file: Path) -> bool:
    """Whether a file is a zip (a wheel is one) or a tar, compressed or not."""
    return zipfile.is_zipfile(file) or tarfile.is_tarfile(file)


def documents(file: Path, include: str, text_field: str, what: str) -> Iterator[Document]:
    """Documents of the members whose names fit `include`, in the order of the names; raises `UserError`."""
    with members(file, include, what) as chosen:
        for name in sorted(chosen):
            try:
                yield from files.documents(chosen[name], name, text_field)
            except UserError as error:
                raise UserError(f"{what}: {error}") from None


@contextlib.contextmanager
def members(file: Path, include: str, what: str) -> Iterator[dict[str, Path]]:
    """Copies of the members whose names fit `include`, by name, which are gone afterwards; raises `UserError`."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            chosen = _extract(file, include, Path(folder), what)
        except DAMAGE as error:
            raise UserError(f"{what} is a damaged archive ({error}): fetch it again") from None
        if not chosen:
            raise UserError(f"nothing in {what} fits include = {include!r}: correct the pattern")
        yield chosen


def _extract(file: Path, include: str, folder: Path, what: str) -> dict[str, Path]:
    meter, fits = _Meter(file, what), files.matcher(include)
    chosen: dict[str, Path] = {}
    for member in _zip_members(file, meter) if zipfile.is_zipfile(file) else _tar_members(file, meter):
        meter.member(member.name)
        if not fits(member.name) or member.name.endswith("/"):
            continue
        if not member.plain:
            raise UserError(f"{member.name!r} in {what} is a link or a device, not a file: leave it out by `include`")
        chosen[member.name] = folder / str(len(chosen))
        with chosen[member.name].open("wb") as target:
            while piece := member.data.read(PIECE):
                target.write(piece)
    return chosen


def _zip_members(file: Path, meter: _Meter) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            kind = (entry.external_attr >> 28) & 0xF  # type bits of the Unix mode: 8 is an ordinary file, 0 is not given
            with archive.open(entry) as data:
                yield _Member(entry.filename, kind in (0, 8), _Metered(data, meter))


def _tar_members(file: Path, meter: _Meter) -> Iterator[_Member]:
    """Members of a tar, read once from front to end, so that skipped ones are counted too and a checksum at the end is seen."""
    with file.open("rb") as raw:
        opener = OPENERS.get(raw.read(2))
    with opener(file) if opener else file.open("rb") as stream:
        metered = _Metered(stream, meter)
        with tarfile.open(fileobj=metered, mode="r|") as archive:
            for entry in archive:
                data = archive.extractfile(entry) if entry.isreg() else None
                if not entry.isdir():
                    yield _Member(entry.name, data is not None, data or io.BytesIO())
        while metered.read():
            pass
