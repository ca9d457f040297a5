"""What quantization cost: true bits and bytes, signal-to-noise ratios, how often each level is used."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from pipeline.quantization.grid import snr_db
from pipeline.quantization.modules import PackedMatrix

Ratios = Mapping[str, float | None]

FLOAT_BYTES = 4
"""Of a weight in the model that is quantized."""


def weight_snr(weights: Mapping[str, Tensor], packed: Mapping[str, PackedMatrix]) -> dict[str, float | None]:
    """Signal-to-noise ratio of each matrix's weights in dB; None without noise or signal."""
    return {name: snr_db(weights[name].detach().flatten(1), matrix.digits(), matrix.scale) for name, matrix in packed.items()}


def rows(packed: Mapping[str, PackedMatrix], weights: Ratios, outputs: Ratios | None = None) -> list[dict[str, Any]]:
    """One row a matrix: sizes, bits a weight (codes of one length, and scales), signal-to-noise ratios in dB, share of each level.

    `weights` are the ratios of the matrices themselves, `outputs` those of what they return, where they were measured; without noise or
    signal there is none. Shares are given for matrices of 5 levels.
    """
    table = [_row(name, matrix, weights[name]) for name, matrix in sorted(packed.items())]
    return [{**row, "output_snr_db": outputs.get(row["name"])} for row in table] if outputs else table


def _row(name: str, matrix: PackedMatrix, ratio: float | None) -> dict[str, Any]:
    digits = matrix.digits()
    count = max(1, digits.numel())
    shares = {f"share_{level}": int((digits == level).sum()) / count if matrix.levels == 5 else None for level in range(-2, 3)}
    size = {"name": name, "rows": digits.shape[0], "columns": matrix.columns, "levels": matrix.levels}
    return {**size, "bits_per_weight": 8 * matrix.nbytes / count, "snr_db": ratio, **shares}


def on_disk(file_bytes: int, packed: Mapping[str, PackedMatrix], others: Mapping[str, Tensor]) -> float:
    """Bits of the model's file a quantized weight: all of it, header and description too, but for the tensors that are not quantized."""
    return 8 * (file_bytes - sum(tensor.nbytes for tensor in others.values())) / sum(matrix.count for matrix in packed.values())


def summary(packed: Mapping[str, PackedMatrix], table: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The section `quantized` of the metrics, over all quantized matrices; ratios are means over those that there are."""
    count = sum(matrix.count for matrix in packed.values())
    size = sum(matrix.nbytes for matrix in packed.values())
    floats = FLOAT_BYTES * count
    means: dict[str, float] = {}
    for column, name in {"snr_db": "weight_snr_db", "output_snr_db": "output_snr_db"}.items():
        ratios = [row[column] for row in table if row.get(column) is not None]
        means |= {name: sum(ratios) / len(ratios)} if ratios else {}
    return {
        "bits_per_weight": 8 * size / count,
        "bytes": size,
        "weights": count,
        "float_bytes": floats,
        "compression": floats / size,
        **means,
    }
