"""GGUF with packed digits, for llama.cpp: each matrix in the smallest of its types that holds the digits exactly.

A type of blocks holds a row's scale once a block, as a float16; its digits are what we have, not what a rounding of its own would find, so
every weight is the same number. Matrices whose columns no block divides, or whose scales are no float16, stay floats.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as Kind

from pipeline.conversion import Bounds, Source, gguf_file, weights
from pipeline.conversion.gguf_file import Data
from pipeline.conversion.weights import Matrix
from pipeline.models.base import Model

BOUNDS = Bounds(max_logit_difference=1e-3, kl_divergence=1e-6, greedy_equal=0.9)
WEIGHTS = gguf_file.WEIGHTS

Digits = npt.NDArray[np.int8]
Bytes = npt.NDArray[np.uint8]

load = gguf_file.load


def export(module: Model, source: Source, target: Path) -> None:
    """Write model.gguf: matrices as `data` says, vectors in float32."""
    config, matrices, others = weights.quantized(source.model)
    tensors = {name: data(matrix) for name, matrix in matrices.items()}
    tensors |= {name: Data(tensor.float().numpy(), Kind.F32) for name, tensor in others.items()}
    gguf_file.write(tensors, config, source, target)


class Type(NamedTuple):
    """A llama.cpp type of blocks: which digits it holds, how many a block, and the bytes of these."""

    kind: Kind
    lowest: int
    highest: int
    block: int
    pack: Callable[[Digits, Bytes], list[Any]]
    """Parts of the blocks from digits [N, block] and scales as bytes [N, 2]."""


def _two_bits(values_NB: Bytes) -> Bytes:
    """Blocks of 256 numbers of 2 bits: a byte has the same place in each quarter of 128."""
    quarters = values_NB.reshape(len(values_NB), 2, 4, 32) << np.array([0, 2, 4, 6], np.uint8)[:, None]
    return np.bitwise_or.reduce(quarters, axis=2).reshape(len(values_NB), 64)


def _tq2_0(digits: Digits, scale: Bytes) -> list[Any]:
    return [_two_bits((digits + 1).astype(np.uint8)), scale]


def _q3_k(digits: Digits, scale: Bytes) -> list[Any]:
    """Two bits of digit + 4 here, its third bit (set for digits from 0 on) there; 16 sub-scales of 33 - 32 = 1."""
    planes = (digits >= 0).reshape(len(digits), 8, 32)
    high = np.packbits(planes, axis=1, bitorder="little")[:, 0]
    ones = np.broadcast_to(np.frombuffer(b"\x11" * 8 + b"\xaa" * 4, np.uint8), (len(digits), 12))
    return [high, _two_bits((digits & 3).astype(np.uint8)), ones, scale]


def _q4_0(digits: Digits, scale: Bytes) -> list[Any]:
    codes = (digits + 8).astype(np.uint8)
    return [scale, codes[:, :16] | codes[:, 16:] << 4]


def _q8_0(digits: Digits, scale: Bytes) -> list[Any]:
    return [scale, digits.view(np.uint8)]


TYPES = (
    Type(Kind.TQ2_0, -1, 1, 256, _tq2_0),
    Type(Kind.Q3_K, -4, 3, 256, _q3_k),
    Type(Kind.Q4_0, -8, 7, 32, _q4_0),
    Type(Kind.Q8_0, -128, 127, 32, _q8_0),
)
"""From the smallest on: 2.06, 3.44, 4.5 and 8.5 bits a weight."""


def data(matrix: Matrix) -> Data:
    """The matrix in the smallest type that holds it exactly; without any, in float16 or at last float32."""
    digits, scale = matrix.digits_RK.numpy(), matrix.scale_RG.numpy()
    halves = scale.astype(np.float16)
    group = digits.shape[1] // scale.shape[1]
    for kind, lowest, highest, block, pack in TYPES:
        if group % block == 0 and lowest <= digits.min() and digits.max() <= highest and (halves == scale).all():
            repeated = halves.repeat(group // block, axis=1).reshape(-1, 1)
            parts = pack(digits.reshape(-1, block), repeated.view(np.uint8))
            return Data(np.concatenate(parts, axis=1).reshape(len(digits), -1), kind)
    dense = matrix.dense().numpy()
    exact = (dense.astype(np.float16) == dense).all()
    return Data(dense.astype(np.float16), Kind.F16) if exact else Data(dense, Kind.F32)
