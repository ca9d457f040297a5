"""The page: one file that needs nothing else, and says what was measured."""

import os
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from pipeline import config as configuration
from pipeline import io, paths
from pipeline.apps import results as results_command
from pipeline.errors import UserError
from pipeline.report import page, results, summary
from tests.unit.report.conftest import PARITY, PROJECT

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Checker(HTMLParser):
    """Collects tags and text, and that every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def render(config) -> str:
    found = results.collect(config.models)
    rows = [summary.row(each, config.models[each.name]) for each in found]
    return page.render(found, configuration.select(config, "report", None), rows)


def checked(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    return checker


def test_self_contained(project, config):
    found = checked(render(config))
    assert not {tag for tag, _ in found.tags} & {"script", "link", "img", "iframe"}
    assert all(attributes["href"].startswith("#") for tag, attributes in found.tags if tag == "a")
    targets = {attributes["id"] for _, attributes in found.tags if "id" in attributes}
    assert {attributes["href"][1:] for tag, attributes in found.tags if tag == "a"} <= targets
    assert "url(" not in render(config) and "@import" not in render(config)


def test_answers(project, config):
    html = render(config)
    text = " ".join(" ".join(checked(html).text).split())
    for question in ("Did it learn?", "What did five levels cost?", "What is exported, and does it agree?", "What made this?"):
        assert text.count(question) == 2
    assert "99.8 % (99 % to 99.95 %)" in text, "exact match with its interval"
    assert "3.04 MB" in text and "231 kB" in text and "÷ 13.2" in text
    assert "2.2e-06" in text and "13.2 dB" in text and "exact" in text
    assert "c0ffee" * 10 in text and "training.learning_rates" not in text and "training.steps" in text
    assert html.count('<svg class="chart"') == 4, "a loss chart each, exact match, and loss by position"


def test_text_is_escaped(project, config):
    html = render(config)
    assert "ROMEO: &lt;b&gt;soft&lt;/b&gt; &amp; light" in html and "<b>soft" not in html


def test_a_further_format_is_a_further_row(project, config):
    path = paths.metrics("calculator", "convert")
    io.write_json(path, {**io.read_json(path), "gguf": {**PARITY, "max_logit_difference": 0.125}})
    text = checked(render(config)).text
    assert "gguf" in text and "0.125" in text


def test_the_same_bytes_whatever_the_hash_seed_and_locale(project, config):
    code = f"""
import sys; sys.path.insert(0, {str(PROJECT)!r})
from tests.unit.report.conftest import two_models
from tests.unit.report.test_page import render
print(render(two_models()))
"""
    outputs = set()
    for seed, zone in (("1", "UTC"), ("4711", "Asia/Kathmandu")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "PYTHONUTF8": "1"}
        outputs.add(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout)
    assert outputs == {render(config).encode() + b"\n"}


def test_results_command(project, config, capsys):
    with pytest.raises(UserError, match=r"report/summary\.json is missing"):
        results_command.show(as_markdown=False)
    rows = [summary.row(results.read(name), model) for name, model in config.models.items()]
    io.write_json(paths.SUMMARY, rows)
    results_command.show(as_markdown=False)
    printed = capsys.readouterr().out
    assert "3.47 (bigram)" in printed and "99.8 %" in printed and "231 kB" in printed
    assert str(project / "report/index.html") in printed and "python -m pipeline ui" in printed


def test_results_as_markdown(project, config, capsys):
    io.write_json(paths.SUMMARY, [summary.row(results.read(name), model) for name, model in config.models.items()])
    results_command.show(as_markdown=True)
    head, rule, *rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert len(head) == len(rule) and [row[0] for row in rows] == ["shakespeare", "calculator"] and rows[0][4] == "3.47 (bigram)"
