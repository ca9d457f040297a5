"""Documents out of files on this machine: text (one document a file, of a large one several), jsonl and parquet (one a row)."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.data.documents import Document
from pipeline.errors import UserError

PART = 1 << 24
"""Bytes of a text file above which it becomes several documents, so that no more is held in memory at once."""
_HALF = re.compile("[\ud800-\udfff]")


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a relative path with forward slashes fits a pattern: `*` and `?` stay within a folder, `**/` spans folders."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    expression = "".join(parts.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*\*|\*|\?)", pattern))
    compiled = re.compile(expression, re.DOTALL)
    return lambda name: compiled.fullmatch(name) is not None


def documents(path: Path, name: str, text_field: str) -> Iterator[Document]:
    """The documents of one file, which is called `name` in ids and errors; raises `UserError`."""
    match Path(name).suffix.lower():
        case ".jsonl":
            return _jsonl(path, name, text_field)
        case ".parquet":
            return _parquet(path, name, text_field)
        case _:
            return _text(path, name)


def _text(path: Path, name: str) -> Iterator[Document]:
    """One document, or of a file above `PART` several in a row, cut at line ends where there are any."""
    if not (size := path.stat().st_size):
        raise UserError(f"{name} is empty: remove it, or choose other files by `include`")
    for start, data in _parts(path, size):
        yield Document(name if size <= PART else f"{name}#{start:015d}", decode(data, name, start))


def _parts(path: Path, size: int) -> Iterator[tuple[int, bytes]]:
    """A file's bytes in order, no more than about `PART` at once, and where each part begins."""
    start = 0
    with path.open("rb") as file:
        while start < size:
            file.seek(start)
            data = file.read(PART)
            if start + len(data) < size and not (data := data + file.readline(PART)).endswith(b"\n"):
                data = data[: _last_letter(data)]
            yield start, data
            start += len(data)


def _last_letter(data: bytes) -> int:
    """Where the last letter begins, which the end of the data may have cut."""
    place = len(data) - 1
    while place > len(data) - 4 and data[place] & 0xC0 == 0x80:
        place -= 1
    return place


def decode(data: bytes, name: str, start: int = 0) -> str:
    """UTF-8 text of a file's bytes from `start` on, without a byte order mark; `UserError` naming file and offset of what is not text."""
    if (offset := data.find(b"\0")) >= 0:
        raise UserError(f"{name} is not text: byte 0x00 at offset {start + offset}: choose other files by `include`")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{data[error.start]:02x} at offset {start + error.start}"
        raise UserError(f"{name} is not UTF-8: {found}: convert it, for example by `iconv -f latin1 -t utf-8`, or leave it out") from None
    return text if start else text.removeprefix("\ufeff")


def _jsonl(path: Path, name: str, text_field: str) -> Iterator[Document]:
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if not line.strip():
                continue
            where = f"{name}:{number + 1}"
            try:
                row = json.loads(decode(line, where))
            except (ValueError, RecursionError) as error:
                raise UserError(f"{where} is not JSON ({error}): correct the line") from None
            yield Document(f"{name}#{number:09d}", text_of(row, text_field, where))


def _parquet(path: Path, name: str, text_field: str) -> Iterator[Document]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        file = parquet.ParquetFile(path)
        columns = file.schema_arrow.names
        if text_field not in columns:
            raise _no_field(text_field, columns, name)
        for batch in file.iter_batches(columns=[text_field]):
            for row in batch.to_pylist():
                yield Document(f"{name}#{number:09d}", text_of(row, text_field, f"row {number} of {name}"))
                number += 1
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{name} is not a parquet file ({error}): fetch it again, or leave it out") from None


def text_of(row: Any, text_field: str, where: str) -> str:
    """The text of a row; raises `UserError` where it has none."""
    if not isinstance(row, dict) or text_field not in row:
        raise _no_field(text_field, sorted(row) if isinstance(row, dict) else [], where)
    text = row[text_field]
    if not isinstance(text, str):
        raise UserError(f"{text_field!r} of {where} is {type(text).__name__}, not text: name another field by `text_field`")
    if half := _HALF.search(text):
        raise UserError(f"{text_field!r} of {where} is not Unicode: half a surrogate pair at position {half.start() + 1}: correct the row")
    return text


def _no_field(text_field: str, fields: list[str], where: str) -> UserError:
    return UserError(f"{where} has no field {text_field!r}, only {fields}: name the field with the text by `text_field`")
