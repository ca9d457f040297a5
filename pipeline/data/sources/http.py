"""A file by http(s): mirrored, or streamed into a partial file that an interrupted download goes on from."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from time import sleep
from urllib.parse import unquote, urlsplit

import httpx

from pipeline import io
from pipeline.data.documents import Document
from pipeline.data.sources import Fetched, archive, files, store
from pipeline.errors import UserError
from pipeline.progress import Bar
from pipeline.schema.data import FsddAudio, HttpSource

MIRROR = "QUINTET_MIRROR"
ATTEMPTS = 6
TIMEOUT = 30.0
TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class _Again(Exception):
    """This attempt failed in a way that another may not."""


def fetch(source: HttpSource, downloads: Path) -> Fetched:
    """The document, or those of an archive that fit `include`; raises `UserError`."""
    file = store.obtain(downloads, source.sha256, source.url, lambda part: _fill(source, part))
    provenance = {"kind": "http", "url": source.url, "sha256": source.sha256, "bytes": file.stat().st_size}
    return Fetched(_documents(file, source), provenance)


def _documents(file: Path, source: HttpSource) -> Iterator[Document]:
    name = file_name(source.url)
    if archive.is_archive(file):
        return archive.documents(file, source.include, source.text_field, name)
    return files.documents(file, name, source.text_field)


def file_name(url: str) -> str:
    """The last part of a URL's path."""
    return PurePosixPath(unquote(urlsplit(url).path)).name or "index"


def _fill(source: HttpSource, part: Path) -> None:
    if found := mirrored(source):
        store.copy(found, part)
        return
    resumed = part.is_file()
    if resumed and io.sha256(part) == source.sha256:
        return
    download(source, part)
    # What an earlier run left may have been the beginning of another version of the file: take it whole, once.
    if resumed and io.sha256(part) != source.sha256:
        part.unlink()
        download(source, part)


def mirrored(source: HttpSource | FsddAudio, *names: str) -> Path | None:
    """The file of the mirror folder with the pinned content, or else with the URL's file name or another of `names`."""
    folder = os.environ.get(MIRROR)
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise UserError(f"{MIRROR} = {folder!r} is not a folder: correct or unset it")
    candidates = sorted(path for path in Path(folder).rglob("*") if path.is_file() and path.stat().st_size <= source.max_bytes)
    named = [path for path in candidates if path.name in (file_name(source.url), source.sha256, *names)]
    return next((path for path in candidates if io.sha256(path) == source.sha256), named[0] if named else None)


def download(source: HttpSource | FsddAudio, part: Path) -> None:
    """Stream the URL into `part`, going on after what it holds already, with more attempts after ever longer pauses.

    Raises `UserError` where the server refuses, the network stays away, or the file is larger than `max_bytes`.
    """
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(0.5 * 2 ** (attempt - 1))
        try:
            _attempt(source, part)
            return
        except (_Again, httpx.TransportError) as error:
            reason = str(error) or type(error).__name__
    raise UserError(
        f"{source.url} cannot be had after {ATTEMPTS} attempts ({reason}): check the connection, "
        f"or put the file into a folder and name that by {MIRROR}"
    )


def _attempt(source: HttpSource | FsddAudio, part: Path) -> None:
    start = part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with httpx.stream("GET", source.url, headers=headers, follow_redirects=True, timeout=TIMEOUT) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            part.unlink()
            raise _Again("the partial file did not fit")
        if response.status_code in TRY_AGAIN:
            raise _Again(f"status {response.status_code}")
        if not response.is_success:
            raise UserError(f"{source.url} gave status {response.status_code} {response.reason_phrase}: correct the address")
        if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0
        _receive(response, source, part, start)


def _receive(response: httpx.Response, source: HttpSource | FsddAudio, part: Path, start: int) -> None:
    announced = response.headers.get("Content-Length")
    total = start + int(announced) if announced else None
    if total and total > source.max_bytes:
        raise _too_large(source, total)
    size = start
    with part.open("r+b" if start else "wb") as file, Bar(f"download {file_name(source.url)}", total, "bytes", start) as bar:
        file.seek(start)
        for piece in response.iter_bytes():
            size += len(piece)
            if size > source.max_bytes:
                file.truncate(0)
                raise _too_large(source, size)
            file.write(piece)
            bar.advance(len(piece))
    if total is not None and size < total:
        raise _Again(f"the connection ended after {size} of {total} bytes")


def _too_large(source: HttpSource | FsddAudio, size: int) -> UserError:
    return UserError(f"{source.url} has at least {size} bytes, more than max_bytes = {source.max_bytes}: raise the limit if that is right")
