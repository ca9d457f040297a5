"""Documents out of files on this machine: text (one document a file), jsonl and parquet (one a row)."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.data.documents import Document
from pipeline.errors import UserError

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
    data = path.read_bytes()
    if not data:
        raise UserError(f"{name} is empty: remove it, or choose other files by `include`")
    yield Document(name, decode(data, name))


def decode(data: bytes, name: str) -> str:
    """UTF-8 text without its byte order mark; `UserError` naming file and byte offset of what is not text."""
    if (offset := data.find(b"\0")) >= 0:
        raise UserError(f"{name} is not text: byte 0x00 at offset {offset}: choose other files by `include`")
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        found = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        raise UserError(f"{name} is not UTF-8: {found}: convert it, for example by `iconv -f latin1 -t utf-8`, or leave it out") from None


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
