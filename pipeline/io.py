"""Files that are whole or not there: canonical bytes, hashes, locks, and publication of a stage's outputs by rename.

Nothing else in the package writes an output. What a stage makes goes into a private staging folder; only when every declared
output is there and every input is still what it was at the start do the files move to their places.
"""

import contextlib
import csv
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.errors import UserError

CHUNK = 1 << 20
JSON_LIMIT = 1 << 24
"""The longest JSON file that is read, in bytes, where its reader does not say otherwise."""


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file, or of a directory: of its sorted relative paths and their files' hashes."""
    if path.is_dir():
        listing = [f"{sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in sorted(path.rglob("*")) if counts(file)]
        return hashlib.sha256("".join(listing).encode()).hexdigest()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def md5(path: Path) -> str:
    """Hex MD5 of a file: what DVC calls it by in dvc.lock, so a name and no protection."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def counts(path: Path) -> bool:
    """Whether a path is content: Snakemake leaves a timestamp file in every directory output, which is not."""
    return path.is_file() and path.name != ".snakemake_timestamp" and "__pycache__" not in path.parts


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, two spaces, shortest floats that read back equal, no NaN, a final newline."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def digest(value: Any) -> str:
    """Hex SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old content or the new, never a mixture.

    Temporary file, fsync, rename, fsync of the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    write_bytes(path, canonical_json(value).encode())


def read_json(path: Path, limit: int = JSON_LIMIT) -> Any:
    """Read JSON; a file that is missing, damaged or longer than `limit` is a `UserError` that names it."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise ValueError(f"it has more than {limit} bytes")
        return parse_json(data)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run the stage that makes it (`dvc repro` runs all that is needed)") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give a file of JSON") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}): delete it and run the stage that makes it again") from None


def parse_json(data: bytes | str) -> Any:
    """The value of JSON (in UTF-8); `ValueError` for anything else: numbers without end, halves of characters, depth beyond Python's."""
    try:
        text = data if isinstance(data, str) else data.decode()
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # an escape may be half of a surrogate pair, which is no text
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large a number")
    return number


def check_version(path: Path, field: str, version: Any, newest: int) -> None:
    """Raise `UserError` for a file whose `field` is no version that this program reads."""
    if type(version) is not int or not 1 <= version <= newest:
        reads = "1" if newest == 1 else f"1 to {newest}"
        raise UserError(f"{path}: {field} is {version!r}, but this program reads {reads}: use the version of it that wrote the file")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Write rows as CSV with a header, floats in their shortest exact form; `columns` is needed only when there may be no rows."""
    text = StringIO()
    writer = csv.DictWriter(text, fieldnames=list(columns or rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


@contextlib.contextmanager
def exclusive(path: Path, what: str, patience: float = 10.0) -> Iterator[None]:
    """Hold a lock for the time of a `with` block; `UserError` if another process holds it for longer than `patience` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=patience):
            yield
    except Timeout:
        raise UserError(f"{what} is already running in another process, which holds {path}: wait for it, or stop it") from None


class Fingerprints:
    """Content hashes of files at one moment, and the question whether they are still the same."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.sha256 = {path: sha256(path) if path.exists() else None for path in paths}
        missing = [str(path) for path, value in self.sha256.items() if value is None]
        if missing:
            raise UserError(f"{missing[0]} is missing: run the stage that makes it (`dvc repro` runs all that is needed)")

    def changed(self) -> list[Path]:
        """The files that differ from what they were, or are gone."""
        return [path for path, value in self.sha256.items() if not path.exists() or sha256(path) != value]


class Staging:
    """A private folder in which a stage makes its outputs, and their publication all together at the end."""

    def __init__(self, folder: Path, outputs: Sequence[Path]) -> None:
        self.folder, self.outputs = folder, tuple(outputs)
        shutil.rmtree(folder, ignore_errors=True)

    def __call__(self, output: Path) -> Path:
        """Where to write `output` (or a file below an output directory) for now."""
        if not any(output == declared or declared in output.parents for declared in self.outputs):
            raise ValueError(f"{output} is not a declared output: {[str(o) for o in self.outputs]}")
        path = self.folder / output
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def publish(self) -> None:
        """Move every output to its place; raises `RuntimeError` before the first move if one was not made."""
        absent = [str(output) for output in self.outputs if not (self.folder / output).exists()]
        if absent:
            raise RuntimeError(f"the stage ended without making {', '.join(absent)}")
        for output in self.outputs:
            output.parent.mkdir(parents=True, exist_ok=True)
            _replace(self.folder / output, output)
        for parent in sorted({output.parent for output in self.outputs}):
            sync_directory(parent)
        shutil.rmtree(self.folder)


def _replace(source: Path, target: Path) -> None:
    for file in [source] if source.is_file() else source.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
    if target.is_dir():
        aside = target.with_name(f".{target.name}.{time.monotonic_ns()}.old")
        target.rename(aside)
        source.rename(target)
        shutil.rmtree(aside)
    else:
        source.replace(target)
