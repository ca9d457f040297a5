"""Token shards: safetensors files that are written as a stream, mapped into memory, and checked before they are believed.

The header gives dtype and shape, `__metadata__` version and SHA-256 of all tensor bytes (see `pipeline.tensors`). The data begin at a
fixed, aligned offset: the header is padded with spaces, which the format allows, so that it can be filled in after the last token.
"""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline import tensors
from pipeline.tensors import header_of

Array = npt.NDArray[Any]

VERSION = 1
DATA_START = 1024
AGAIN = "run the stage `tokenize` again"
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
    entries: dict[str, Any] = {}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        end = offset + math.prod(shape) * dtype.itemsize
        entries[name] = {"dtype": NAMES[dtype.newbyteorder("<")], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    return header_of(entries, {"version": str(VERSION), **metadata}, sha256, DATA_START - 8)


def open(path: Path) -> dict[str, Array]:
    """Map a shard's tensors, without reading them; raises `UserError` naming file and field where the header and the file disagree."""
    header = _read_header(path)
    return _Shard(path, {name: _map(path, header.start, entry) for name, entry in header.tensors.items()})


class _Shard(dict[str, Array]):
    """A shard's tensors by name."""

    def __init__(self, path: Path, held: Mapping[str, Array]) -> None:
        super().__init__(held)
        self.path = path

    def __missing__(self, name: str) -> Array:
        tensors.refuse(self.path, name, "is missing", AGAIN)


def tokens(path: Path, vocab_size: int, row_length: int | None = None) -> Array:
    """The tensor `tokens` [N], or [N, row_length], of a shard, mapped; raises `UserError` for another shape and for ids of no token."""
    found = open(path)["tokens"]
    wanted = [*found.shape[:1], *([] if row_length is None else [row_length])]
    if not found.ndim or list(found.shape) != wanted:
        tensors.refuse(path, "tokens.shape", f"is {list(found.shape)}, but must be {wanted or 'a list'}", AGAIN)
    if found.size and not 0 <= found.min() <= found.max() < vocab_size:
        tensors.refuse(path, "tokens", f"holds ids of {found.min()} to {found.max()}, but there are {vocab_size} tokens", AGAIN)
    return found


def _map(path: Path, start: int, entry: Mapping[str, Any]) -> Array:
    dtype, shape = np.dtype(DTYPES[entry["dtype"]]), tuple(entry["shape"])
    if 0 in shape:  # an empty file part cannot be mapped
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=start + entry["data_offsets"][0], shape=shape)


def verify(path: Path) -> str:
    """Read the whole shard and return the SHA-256 of its tensor bytes; raises `UserError` if that is not what its header says."""
    return tensors.verify(path, _read_header(path), AGAIN)


def _read_header(path: Path) -> tensors.Header:
    header = tensors.read_header(path, AGAIN, DTYPES.keys(), VERSION)
    if "sha256" not in header.metadata:
        tensors.refuse(path, "__metadata__.sha256", "is missing", AGAIN)
    return header
