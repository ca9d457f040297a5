"""safetensors files, before they are believed: the header is checked against the file's size, and the data against the header's checksum.

Format: https://github.com/huggingface/safetensors#format (8-byte little-endian header length, JSON header, tensor bytes). Under
`__metadata__`, `sha256` is that of all tensor bytes, and `version` is the writer's; a file that has none is of version 1.
"""

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from pipeline import io
from pipeline.errors import UserError

LIMIT = 1 << 20
"""The longest header that is read, in bytes."""
SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8}
"""Bytes a number."""


class Header(NamedTuple):
    """What a file says about itself, checked."""

    tensors: dict[str, dict[str, Any]]
    """`dtype`, `shape` and `data_offsets` of each tensor."""
    metadata: dict[str, str]
    start: int
    """Where the tensor bytes begin."""


def read_header(path: Path, remedy: str, known: Collection[str] = SIZES.keys(), version: int = 1) -> Header:
    """A file's header; `UserError` names file and field where the two disagree, for a dtype not `known` and for a newer version.

    `remedy` ends the sentence: "run the stage `tokenize` again". Nothing is read but the header.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(LIMIT, size - 8):
                refuse(path, "header length", f"is {length} in a file of {size} bytes", remedy)
            content = io.parse_json(file.read(length))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: {remedy}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {remedy}") from None
    except ValueError:
        refuse(path, "header", "is not JSON", remedy)
    metadata = content.pop("__metadata__", {}) if isinstance(content, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        refuse(path, "__metadata__", "is not a list of texts by name", remedy)
    found = metadata.get("version", "1")
    io.check_version(path, "__metadata__.version", int(found) if found.isdecimal() and len(found) < 9 else found, version)
    for name, entry in content.items():
        _check_entry(path, name, entry, remedy, known)
    _check_places(path, content, size - 8 - length, remedy)
    return Header(content, metadata, 8 + length)


def _check_entry(path: Path, name: str, entry: Any, remedy: str, known: Collection[str]) -> None:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        refuse(path, name, "does not have exactly dtype, shape and data_offsets", remedy)
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in known:
        refuse(path, f"{name}.dtype", f"is {entry['dtype']!r}, not one of {', '.join(known)}", remedy)
    for field in ("shape", "data_offsets"):
        if not isinstance(entry[field], list) or not all(type(number) is int and 0 <= number < 1 << 62 for number in entry[field]):
            refuse(path, f"{name}.{field}", f"is {entry[field]!r}, not a list of sizes", remedy)


def _check_places(path: Path, entries: Mapping[str, Any], data_bytes: int, remedy: str) -> None:
    """The tensors lie side by side, without gap and overlap, from the beginning of the data to its end."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        expected = [end, end + math.prod(entry["shape"]) * SIZES[entry["dtype"]]]
        if entry["data_offsets"] != expected:
            refuse(path, f"{name}.data_offsets", f"is {entry['data_offsets']}, but the shape says {expected}", remedy)
        end = expected[1]
    if end != data_bytes:
        refuse(path, "length", f"of the data is {data_bytes} bytes, but the header describes {end}", remedy)


def verify(path: Path, header: Header, remedy: str) -> str:
    """Read all tensor bytes and return their SHA-256; raises `UserError` if that is not what the header says."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(header.start)
        while chunk := file.read(io.CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != header.metadata.get("sha256"):
        said = header.metadata.get("sha256")
        refuse(path, "__metadata__.sha256", f"is {said}, but the data give {digest.hexdigest()}", remedy)
    return digest.hexdigest()


def seal(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """A file that the library wrote, with checksum and `metadata` in its header: the same bytes on every run."""
    start = 8 + int.from_bytes(data[:8], "little")
    entries = json.loads(data[8:start])
    return header_of(entries, metadata, hashlib.sha256(data[start:]).hexdigest()) + data[start:]


def header_of(entries: Mapping[str, Any], metadata: Mapping[str, str], sha256: str, length: int | None = None) -> bytes:
    """Length and JSON of a header, filled up with spaces to a multiple of 8 bytes or to `length`; `ValueError` where that is too little."""
    content = {**entries, "__metadata__": {**metadata, "sha256": sha256}}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    total = len(text) + -len(text) % 8 if length is None else length
    if len(text) > total:
        raise ValueError(f"the header has {len(text)} bytes, but only {total} are kept for it")
    return total.to_bytes(8, "little") + text.ljust(total)


def refuse(path: Path, field: str, what: str, remedy: str) -> NoReturn:
    """Raise the `UserError` of a file whose `field` cannot be."""
    raise UserError(f"{path}: {field} {what}: the file is damaged, so {remedy}")
