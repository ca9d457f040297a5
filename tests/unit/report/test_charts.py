"""Curves as SVG."""

import itertools
import re
import xml.etree.ElementTree as ET

import pytest

from pipeline.report import charts
from pipeline.report.charts import Axis, Series


def test_an_axis_is_a_map():
    axis = Axis(1.0, 3.0, 100.0, 0.0)
    assert (axis(1.0), axis(2.0), axis(3.0)) == (100.0, 50.0, 0.0)
    logarithmic = Axis(0.01, 1.0, 0.0, 100.0, logarithmic=True)
    assert logarithmic(0.1) == pytest.approx(50.0) and logarithmic.ticks() == [0.01, 0.1, 1.0]


@pytest.mark.parametrize(("low", "high", "expected"), [(0, 1, 0.2), (1.47, 3.4, 0.5), (0, 2000, 500), (0, 60, 20)])
def test_ticks_are_round(low, high, expected):
    ticks = Axis(low, high, 0, 1).ticks()
    assert [b - a for a, b in itertools.pairwise(ticks)] == pytest.approx([expected] * (len(ticks) - 1))
    assert 3 <= len(ticks) <= 8 and low <= ticks[0] and ticks[-1] <= high


def drawn(*arguments, **keywords) -> ET.Element:
    return ET.fromstring(str(charts.lines(*arguments, **keywords)))


def test_curves_fall_where_the_loss_falls():
    svg = drawn([Series("train", [(0.0, 3.0), (10.0, 2.0), (20.0, 1.5)], "train")], "step", "loss", {"bigram": 2.4})
    circles = [(float(c.get("cx")), float(c.get("cy"))) for c in svg.iter("circle")]
    assert circles == sorted(circles) and all(a[1] < b[1] for a, b in itertools.pairwise(circles))
    (level,) = [path for path in svg.iter("path") if path.get("class") == "reference"]
    height = float(re.match(r"M[\d.]+ ([\d.]+)H", level.get("d"))[1])
    assert circles[0][1] < height < circles[1][1] < circles[2][1], "a reference of 2.4 lies between losses of 3 and 2"


def test_names_do_not_overlap_and_are_escaped():
    series = [Series(f"<{i}>", [(0.0, 1.0), (1.0, 1.0 + i / 1000)], "train") for i in range(5)]
    labels = [text for text in drawn(series, "step", "a < b").iter("text") if text.get("class", "").startswith("label")]
    heights = [float(text.get("y")) for text in labels]
    assert all(b - a >= charts.LABEL_GAP - 0.1 for a, b in itertools.pairwise(heights))
    assert {text.text for text in labels} == {f"<{i}>" for i in range(5)} and max(heights) < charts.HEIGHT


def test_wide_ranges_are_logarithmic_and_shares_are_whole():
    points = [(float(i), 10.0**-i) for i in range(4)]
    ticks = [
        text.text for text in drawn([Series("loss", points, "train")], "step", "loss").iter("text") if text.get("text-anchor") == "end"
    ]
    assert ticks == ["0.001", "0.01", "0.1", "1"]
    shares = drawn([Series("validation", [(0.0, 0.2), (1.0, 0.4)], "validation")], "step", "exact match", share=True)
    assert "100 %" in {text.text for text in shares.iter("text")}


def test_one_point_and_a_flat_line_can_be_drawn():
    for points in ([(5.0, 2.0)], [(0.0, 2.0), (1.0, 2.0)], [(1.0, 0.0)]):
        assert drawn([Series("loss", points, "train")], "step", "loss").tag == "svg"
