"""What quantization cost: true bits and bytes, signal-to-noise ratios, how often each level is used."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from pipeline.quantization.grid import TOP, snr_db
from pipeline.quantization.modules import PackedMatrix


def rows(weights: Mapping[str, Tensor], packed: Mapping[str, PackedMatrix]) -> list[dict[str, Any]]:
    """One row a matrix: sizes, bits a weight (codes and scales), signal-to-noise ratio in dB (None without noise), share of each level."""
    return [_row(name, weights[name], matrix) for name, matrix in sorted(packed.items())]


def _row(name: str, weight: Tensor, matrix: PackedMatrix) -> dict[str, Any]:
    digits = matrix.digits()
    count = max(1, digits.numel())
    shares = {f"share_{level}": int((digits == level).sum()) / count for level in range(-TOP, TOP + 1)}
    size = {"name": name, "rows": weight.shape[0], "columns": weight.shape[1], "bits_per_weight": 8 * matrix.nbytes / count}
    return {**size, "snr_db": snr_db(weight, digits, matrix.scale), **shares}


def summary(weights: Mapping[str, Tensor], packed: Mapping[str, PackedMatrix], table: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The section `quantized` of the metrics, over all quantized matrices; `weight_snr_db` is the mean over those with noise."""
    count = sum(weight.numel() for weight in weights.values())
    size = sum(matrix.nbytes for matrix in packed.values())
    floats = sum(weight.numel() * weight.element_size() for weight in weights.values())
    ratios = [row["snr_db"] for row in table if row["snr_db"] is not None]
    snr = {"weight_snr_db": sum(ratios) / len(ratios)} if ratios else {}
    return {
        "bits_per_weight": 8 * size / count,
        "bytes": size,
        "weights": count,
        "float_bytes": floats,
        "compression": floats / size,
        **snr,
    }
