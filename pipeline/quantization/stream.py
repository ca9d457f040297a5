"""Digits and scales as bytes of a file, shortened to about their entropy: two zlib streams (RFC 1950), one behind the other.

The first is a description in JSON, the second the bytes it describes, in sections of one kind, each with codes of its own. The levels of
trained weights are not equally frequent (near 10, 23, 34, 23 and 10 % of five), so codes of one length, 2.33 bits a digit, waste a
fifteenth: Huffman's code, for bytes that hold three digits each, takes 2.18 where the entropy is 2.17. zlib's search for repetitions, which
would find none, is off. The same version of zlib makes the same stream of the same bytes. N digits, D digits a byte.
"""

import json
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import io, tensors

DIGITS = {3: 5, 4: 4, 5: 3, 7: 2, 9: 2, 15: 2, 256: 1}
"""By the number of levels: as many digits as a byte can hold."""


def bytes_of(digits_N: Tensor, levels: int) -> Tensor:
    """int8 digits -> uint8 [ceil(N / D)]: sums of (w_i + levels // 2) levels^i, the last filled up with digits 0."""
    padded = F.pad(digits_N, (0, -len(digits_N) % DIGITS[levels]))
    columns = (padded.view(torch.uint8) + levels // 2).view(-1, DIGITS[levels]).unbind(1)  # sums of uint8 wrap, so these are from 0 on
    total = columns[-1]
    for column in columns[-2::-1]:
        total = total * levels + column
    return total


def digits_of(data: Tensor, count: int, levels: int) -> Tensor:
    """The int8 digits [count] again; `ValueError` for bytes that mean none and where the last is not filled up with digits 0."""
    if len(data) != size(count, levels):
        raise ValueError(f"{count} digits take {size(count, levels)} bytes, not {len(data)}")
    if len(data) and int(data.max()) >= levels ** DIGITS[levels]:
        raise ValueError(f"a byte is more than {levels ** DIGITS[levels] - 1}")
    columns = np.empty((len(data), DIGITS[levels]), np.int8)
    for place in range(DIGITS[levels]):
        table = (np.arange(256) // levels**place % levels - levels // 2).astype(np.int8)
        columns[:, place] = table[data.numpy()]
    digits = torch.from_numpy(columns.reshape(-1))
    if bool(digits[count:].any()):
        raise ValueError("the last byte is not filled up with digits 0")
    return digits[:count]


def size(count: int, levels: int) -> int:
    """Bytes of so many digits."""
    return -(-count // DIGITS[levels])


def compress(description: Any, sections: Iterable[Iterable[Tensor]]) -> Tensor:
    """Both streams, uint8."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    found = [zlib.compress(text.encode(), 9)]
    huffman = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL + 1, zlib.Z_HUFFMAN_ONLY)
    for section in sections:
        found += [huffman.compress(part.numpy().data) for part in section]
        found.append(huffman.flush(zlib.Z_BLOCK))
    found.append(huffman.flush())
    return torch.frombuffer(bytearray(b"".join(found)), dtype=torch.uint8)


def described(data: Tensor) -> tuple[Any, bytes]:
    """The description, and the second stream as it is; `ValueError` where the first is no zlib stream of JSON or a long one."""
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(data.numpy().data, tensors.LIMIT)
    except zlib.error as error:
        raise ValueError(f"its description is no zlib stream: {error}") from None
    if not inflater.eof:
        raise ValueError(f"its description is cut off or has more than {tensors.LIMIT} bytes")
    return io.parse_json(text), inflater.unused_data


def inflate(stream: bytes, length: int) -> Tensor:
    """The `length` bytes of the second stream, uint8; `ValueError` where it holds others.

    Huffman's code takes a bit a byte at least, so a longer announcement is refused before anything of its size is made.
    """
    if length > 8 * len(stream):
        raise ValueError(f"{length} bytes are described, more than {len(stream)} can hold")
    inflater = zlib.decompressobj()
    try:
        found = inflater.decompress(stream, length + 1)
    except zlib.error as error:
        raise ValueError(f"it is no zlib stream: {error}") from None
    if len(found) != length or not inflater.eof or inflater.unused_data:
        raise ValueError(f"it does not end after the {length} bytes that are described")
    return torch.frombuffer(bytearray(found), dtype=torch.uint8) if found else torch.empty(0, dtype=torch.uint8)
