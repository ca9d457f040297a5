import pytest
import torch

from pipeline import quantization
from pipeline.quantization import report


def test_rows_and_summary_count_every_byte():
    generator = torch.Generator().manual_seed(0)
    weights = {"b": torch.randn(8, 48, generator=generator), "a": torch.randn(5, 10, generator=generator)}
    packed = quantization.quantize(weights, "here")
    table = report.rows(packed, report.weight_snr(weights, packed))
    assert [row["name"] for row in table] == ["a", "b"]
    assert table[1]["bits_per_weight"] == 8 * (8 * 14 + 8) / (8 * 48)  # 128 codes of 7 bits, and 8 scales of 8
    assert all(sum(row[f"share_{level}"] for level in range(-2, 3)) == pytest.approx(1) for row in table)
    assert 8 < table[1]["snr_db"] < 14
    summary = report.summary(packed, table)
    size = (8 * 14 + 8) + (15 + 5)  # 50 digits are 17 codes: 119 bits
    assert (summary["bytes"], summary["weights"], summary["float_bytes"]) == (size, 434, 4 * 434)
    assert summary["bits_per_weight"] == 8 * size / 434
    assert summary["compression"] == 4 * 434 / size
    assert summary["weight_snr_db"] == pytest.approx((table[0]["snr_db"] + table[1]["snr_db"]) / 2)


def test_a_matrix_without_noise_has_no_ratio():
    weights = {"zero": torch.zeros(2, 3)}
    packed = quantization.quantize(weights, "here")
    table = report.rows(packed, report.weight_snr(weights, packed))
    assert table[0]["snr_db"] is None and table[0]["share_0"] == 1
    assert "weight_snr_db" not in report.summary(packed, table)
