"""Who is champion: the declared figure, the declared margin, comparable data, and no influence of the order in which models arrive."""

import itertools
from pathlib import Path

import pytest

from pipeline.tracking import champion
from pipeline.tracking.champion import RULES, Contender, Rule

LOWER, HIGHER = RULES["language"], RULES["arithmetic"]


def contenders(metric: str, *values: float, judged_on: str = "plays") -> list[Contender]:
    return [Contender(str(i), judged_on, i, {metric: value}) for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        (LOWER, (2.30, 2.295, 2.291), "0"),  # none is better by 0.01
        (LOWER, (2.30, 2.29), "1"),
        (LOWER, (2.30, 2.28, 2.275, 2.27), "3"),
        (LOWER, (2.30, 2.28, 2.29), "1"),
        (HIGHER, (0.95, 0.954), "0"),
        (HIGHER, (0.95, 0.955), "1"),
        (HIGHER, (0.95, 0.9, 0.955), "2"),
        (HIGHER._replace(margin=0.0), (0.95, 0.95), "0"),
        (HIGHER._replace(margin=0.0), (0.95, 0.950001), "1"),
    ],
)
def test_the_margin_decides(rule, values, expected):
    entered = contenders(rule.metric, *values)
    for order in itertools.permutations(entered):
        assert champion.champion(order, rule).id == expected


def test_figures_on_other_data_are_not_compared():
    old, new = contenders(LOWER.metric, 2.0), contenders(LOWER.metric, 4.0, 3.0, judged_on="one play")
    new = [each._replace(id=f"new {each.id}", time=10 + each.time) for each in new]
    assert champion.champion([*old, *new], LOWER).id == "new 1"
    again = Contender("again", "plays", 20, {LOWER.metric: 2.1})
    assert champion.champion([*old, *new, again], LOWER).id == "0", "the older of the data is back, and so is its champion"


def test_nobody_is_champion_without_the_figure():
    assert champion.champion(contenders("float/loss", 1.0), LOWER) is None


def test_the_rule_of_params_yaml_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert champion.rule("shakespeare", "language") == LOWER
    preset = (Path(__file__).resolve().parents[3] / "presets/smoke.yaml").read_text()
    Path("params.yaml").write_text(preset)
    assert champion.rule("shakespeare", "language") == LOWER and champion.rule("gone", "classification") == RULES["classification"]
    declared = "  shakespeare:\n    champion: {metric: quantized/bytes, better: lower, margin: 100}\n"
    Path("params.yaml").write_text(preset.replace("  shakespeare:\n", declared, 1))
    assert champion.rule("shakespeare", "language") == Rule("quantized/bytes", "lower", 100)
