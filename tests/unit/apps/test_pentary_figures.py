"""The figures that README gives of the Pentary library: what they are measured on, and (`full`) that they hold."""

import statistics

import numpy as np
import pytest

from pipeline.apps.pentary import figures


def test_rounding_by_the_documents_rule_is_worse(monkeypatch):
    monkeypatch.setattr(figures, "EPOCHS", 3)
    (found,) = figures.digits((16,), [0])
    assert found.in_float > 0.85 and found.five_levels > found.largest
    assert 0.1 < found.largest < 1 and found.rounded > 0.5


def test_large_samples_are_those_of_the_document():
    found = figures.large_samples(2)
    assert found["image"].shape == (2, 224, 224, 3) and found["audio"].shape == (2, 16000) and len(found["text"]) == 2
    assert found["image"].dtype == np.uint8 and float(np.abs(found["audio"]).max()) <= 1


@pytest.mark.full
@pytest.mark.parametrize(("name", "least"), [("64-128-64-10", 0.98), ("64-16-10", 0.96)])
def test_digits_at_five_levels(name, least):
    found = figures.digits(figures.NETWORKS[name], range(5))
    assert statistics.mean(accuracy.five_levels for accuracy in found) >= least
