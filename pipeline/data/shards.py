"""Token shards: safetensors files that are written as a stream, mapped into memory, and checked before they are believed.

The header gives dtype and shape, `__metadata__` the SHA-256 of all tensor bytes. The data begin at a fixed, aligned offset: the
header is padded with spaces, which the format allows, so that it can be filled in after the last token is written.
Format: https://github.com/huggingface/safetensors#format (8-byte little-endian header length, JSON header, tensor bytes).
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import UserError
from pipeline.io import CHUNK

Array = npt.NDArray[Any]

DATA_START = 1024
HEADER_LIMIT = 1 << 20
DTYPES = {"U8": "|u1", "U16": "<u2", "U32": "<u4", "I64": "<i8"}
NAMES = {np.dtype(code): name for name, code in DTYPES.items()}


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """Smallest dtype for a language shard: uint16, or uint32 where the vocabulary is larger than 65,536."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


class Writer:
    """Writes a shard of one 1-D tensor piece by piece: `with Writer(path, "tokens", dtype) as shard: shard.append(ids)`."""

    def __init__(self, path: Path, name: str, dtype: np.dtype[Any], metadata: Mapping[str, str] | None = None) -> None:
        self.path, self.name, self.dtype, self.metadata = path, name, np.dtype(dtype), dict(metadata or {})
        self.length, self.digest = 0, hashlib.sha256()
        self.file = path.open("wb")
        self.file.write(bytes(DATA_START))

    def __enter__(self) -> "Writer":
        return self

    def append(self, values: Array) -> None:
        """Add values [n]; raises `ValueError` where they do not fit the shard's dtype."""
        if values.size and (values.min() < 0 or values.max() > np.iinfo(self.dtype).max):
            raise ValueError(f"{values.min()}..{values.max()} does not fit {self.dtype}")
        data = values.astype(self.dtype).tobytes()
        self.file.write(data)
        self.digest.update(data)
        self.length += len(values)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.file.seek(0)
            self.file.write(_header({self.name: (self.dtype, (self.length,))}, self.metadata, self.digest.hexdigest()))
        self.file.close()


def write(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> None:
    """Write a shard of several small tensors at once, in the order of their names."""
    names = sorted(arrays)
    data = b"".join(np.ascontiguousarray(arrays[name]).astype(arrays[name].dtype.newbyteorder("<")).tobytes() for name in names)
    described = {name: (arrays[name].dtype, arrays[name].shape) for name in names}
    path.write_bytes(_header(described, metadata or {}, hashlib.sha256(data).hexdigest()) + data)


def _header(tensors: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]], metadata: Mapping[str, str], sha256: str) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {**metadata, "sha256": sha256}}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        end = offset + math.prod(shape) * dtype.itemsize
        entries[name] = {"dtype": NAMES[dtype.newbyteorder("<")], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()
    length = DATA_START - 8
    if len(text) > length:
        raise ValueError(f"the shard's header has {len(text)} bytes, but only {length} are kept for it")
    return length.to_bytes(8, "little") + text.ljust(length)


def open(path: Path) -> dict[str, Array]:
    """Map a shard's tensors, without reading them; raises `UserError` naming file and field where the header and the file disagree."""
    header, start = _read_header(path)
    return {
        name: np.memmap(path, dtype=DTYPES[entry["dtype"]], mode="r", offset=start + entry["data_offsets"][0], shape=tuple(entry["shape"]))
        for name, entry in header.items()
        if name != "__metadata__"
    }


def verify(path: Path) -> str:
    """Read the whole shard and return the SHA-256 of its tensor bytes; raises `UserError` if that is not what its header says."""
    header, start = _read_header(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(start)
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    expected = header["__metadata__"].get("sha256")
    if digest.hexdigest() != expected:
        raise _damaged(path, "__metadata__.sha256", f"is {expected}, but the data give {digest.hexdigest()}")
    return digest.hexdigest()


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(HEADER_LIMIT, size - 8):
                raise _damaged(path, "header length", f"is {length} in a file of {size} bytes")
            header = json.loads(file.read(length))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run the stage `tokenize` (`dvc repro` runs all that is needed)") from None
    except ValueError:
        raise _damaged(path, "header", "is not JSON") from None
    _check_header(path, header, size - 8 - length)
    return header, 8 + length


def _check_header(path: Path, header: Any, data_bytes: int) -> None:
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__"), dict):
        raise _damaged(path, "__metadata__", "is missing")
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    for name, entry in entries.items():
        _check_entry(path, name, entry)
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        expected = [end, end + math.prod(entry["shape"]) * np.dtype(DTYPES[entry["dtype"]]).itemsize]
        if entry["data_offsets"] != expected:
            raise _damaged(path, f"{name}.data_offsets", f"is {entry['data_offsets']}, but the shape says {expected}")
        end = expected[1]
    if end != data_bytes:
        raise _damaged(path, "length", f"of the data is {data_bytes} bytes, but the header describes {end}")


def _check_entry(path: Path, name: str, entry: Any) -> None:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, name, "does not have exactly dtype, shape and data_offsets")
    if entry["dtype"] not in DTYPES:
        raise _damaged(path, f"{name}.dtype", f"is {entry['dtype']!r}, not one of {', '.join(DTYPES)}")
    for field in ("shape", "data_offsets"):
        if not isinstance(entry[field], list) or not all(type(number) is int and number >= 0 for number in entry[field]):
            raise _damaged(path, f"{name}.{field}", f"is {entry[field]!r}, not a list of sizes")


def _damaged(path: Path, field: str, what: str) -> UserError:
    return UserError(f"{path}: {field} {what}: the shard is damaged, so run the stage `tokenize` again")
