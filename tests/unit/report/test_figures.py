"""How numbers are written."""

import pytest

from pipeline.report import figures


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("loss", 1.5669, "1.567"),
        ("perplexity", 18.1372, "18.14"),
        ("bits_per_byte", 2.2149, "2.21"),
        ("kl_divergence", 2.4336e-14, "2.4e-14"),
        ("kl_divergence", 0.0, "0"),
        ("exact_match", 0.9995, "99.95 %"),
        ("exact_match", 1.0, "100 %"),
        ("exact_match", 0.99999, "> 99.99 %"),
        ("exact_match", 0.0, "0 %"),
        ("bytes", 999, "999 B"),
        ("bytes", 3_040_000, "3.04 MB"),
        ("quantized_bytes", 999_600, "1 MB"),
        ("parameters", 760000, "760,000"),
        ("operator", "+", "+"),
    ],
)
def test_write(name, value, text):
    assert figures.write(name, value) == text


@pytest.mark.parametrize(
    ("name", "before", "after", "text"),
    [
        ("bytes", 3_040_000, 231_000, "÷ 13.2"),
        ("exact_match", 0.998, 0.975, "-2.30 points"),
        ("loss", 1.5, 1.56, "+4.00 %"),
        ("loss", 0.0, 0.1, ""),
        ("loss", 3.3e-4, 0.596, "× 1,806"),
        ("exact_match", 0.5, 0.5, "the same"),
    ],
)
def test_change(name, before, after, text):
    assert figures.change(name, before, after) == text


def test_headline_prefers_what_people_ask_for():
    assert figures.headline({"loss": 1.0, "exact_match": 0.5}) == "exact_match"
    assert figures.headline({"loss": 1.0, "perplexity": 2.7, "bits_per_byte": 2.0}) == "bits_per_byte"
