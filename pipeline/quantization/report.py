"""What quantization cost: true bits and bytes, signal-to-noise ratios, how often each level is used."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from pipeline.quantization.grid import snr_db
from pipeline.quantization.modules import PackedMatrix


def rows(
    weights: Mapping[str, Tensor], packed: Mapping[str, PackedMatrix], ratios: Mapping[str, float | None] | None = None
) -> list[dict[str, Any]]:
    """One row a matrix: sizes, bits a weight (codes and scales), signal-to-noise ratios in dB (None without noise), share of each level.

    `ratios` are those of the matrices' outputs, where they were measured; shares are given for matrices of 5 levels.
    """
    table = [_row(name, weights[name], matrix) for name, matrix in sorted(packed.items())]
    return [{**row, "output_snr_db": ratios.get(row["name"])} for row in table] if ratios else table


def _row(name: str, weight: Tensor, matrix: PackedMatrix) -> dict[str, Any]:
    digits = matrix.digits()
    count = max(1, digits.numel())
    shares = {f"share_{level}": int((digits == level).sum()) / count if matrix.levels == 5 else None for level in range(-2, 3)}
    size = {"name": name, "rows": weight.shape[0], "columns": matrix.columns, "levels": matrix.levels}
    return {**size, "bits_per_weight": 8 * matrix.nbytes / count, "snr_db": snr_db(weight.flatten(1), digits, matrix.scale), **shares}


def summary(weights: Mapping[str, Tensor], packed: Mapping[str, PackedMatrix], table: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The section `quantized` of the metrics, over all quantized matrices; ratios are means over those with noise."""
    count = sum(weight.numel() for weight in weights.values())
    size = sum(matrix.nbytes for matrix in packed.values())
    floats = sum(weight.numel() * weight.element_size() for weight in weights.values())
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
