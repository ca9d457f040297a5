"""The experiments with small brains: tasks that ask what they say, tables and pictures of what was found."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

from pipeline.apps import experiments
from pipeline.apps.neurogen import footprint, forgetting, recall, rules, study
from pipeline.data import tokenizers
from pipeline.errors import UserError
from pipeline.schema.training import Consolidation
from pipeline.training.tasks import Language
from tests.unit.training import toy

VOCABULARY = len(toy.ALPHABET)


@pytest.fixture
def text(monkeypatch, tmp_path) -> np.ndarray:
    """A small text in the place of a data set's, and a folder to be in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUINTET_TRACKING", "off")
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, 600).astype(np.uint16) // 2 * 2
    splits = {"train": tokens, "validation": tokens[:200], "test": tokens[:100]}

    def task(data, chosen, seed):
        return Language(splits, chosen, seed, rules.CONTEXT, tokenizers.characters(toy.ALPHABET), True), VOCABULARY

    monkeypatch.setattr(rules, "task", task)
    monkeypatch.setattr(rules, "STREAMS", 4)
    return tokens


def test_rules_are_shown_beside_what_counts_predict(text, tmp_path):
    outcome = rules.run(1, "plays", 2)
    assert list(outcome.lines) == ["bptt", "eprop", "three_factor", "read-out alone"]
    assert [point[0] for point in outcome.lines["eprop"][0]] == [4 * 32, 2 * 4 * 32]
    shares = (np.bincount(text, minlength=VOCABULARY) + 1) / (len(text) + VOCABULARY)
    assert outcome.levels["unigram"] == pytest.approx(-np.log(shares[text[1:200]]).mean(), rel=1e-6)
    assert outcome.levels["bigram"] < outcome.levels["unigram"] < np.log(VOCABULARY)
    for folder in ("one", "two"):
        study.conclude("learning", outcome, tmp_path / folder)
    files = [{path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} for folder in ("one", "two")]
    assert set(files[0]) == {"learning.csv", "learning.svg"} and files[0] == files[1]
    with (tmp_path / "one/learning.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 8
    log = sorted(Path(".quintet/events").glob("*-experiments-neurogen-learning-*.jsonl"))[0]
    said = [json.loads(line) for line in log.read_text().splitlines()]
    curve = {event["step"]: event["values"]["learning/eprop"] for event in said if "learning/eprop" in event.get("values", {})}
    assert curve == {int(x): pytest.approx(y) for x, y in outcome.lines["eprop"][0]}


def test_the_read_out_alone_moves_no_synapse(text, monkeypatch):
    made, build = [], rules.brain
    monkeypatch.setattr(rules, "brain", lambda *args: made.append(build(*args)) or made[-1])
    rules.learn("plays", rules.ALONE, 3, 2)
    changed = {
        n for (n, a), b in zip(made[0].named_parameters(), build(VOCABULARY, "bptt", 3).parameters(), strict=True) if not torch.equal(a, b)
    }
    assert changed == {"lm_head.weight", "lm_head.bias"}


def test_what_is_to_be_recalled_was_there_before():
    task = recall.lessons(50, torch.Generator().manual_seed(0))
    assert 200 < task.known.sum() < 800
    for row, known in zip(task.tokens.tolist(), task.known.tolist(), strict=True):
        last: dict[int, int] = {}
        for t, token in enumerate(row[:-1]):
            assert known[t] == (token in last)
            if token >= recall.SYMBOLS:
                assert last.setdefault(token, row[t + 1]) == row[t + 1] < recall.SYMBOLS


class Perfect:
    """Looks for what followed the cue the last time."""

    def __call__(self, tokens):
        return F.one_hot(tokens[:, 1:2].expand(-1, tokens.shape[1]), 12).float(), None


@pytest.mark.parametrize("lag", [1, 7, 50])
def test_an_exam_asks_for_the_symbol_so_many_tokens_ago(lag):
    tokens = recall.exam(lag, 30, torch.Generator().manual_seed(1))
    assert (tokens[:, 0] == tokens[:, -1]).all() and (tokens[:, 0] >= recall.SYMBOLS).all()
    assert (tokens[:, 1:-1] < recall.SYMBOLS).all() and tokens.shape[1] - 1 - 1 == lag
    assert recall.accuracy(Perfect(), lag, 0) == 1.0  # type: ignore[arg-type]


def test_recall_compares_three_nets(monkeypatch):
    monkeypatch.setattr(recall, "STREAMS", 4)
    monkeypatch.setattr(recall, "JUDGED", 16)
    outcome = recall.run(1, 2)
    assert list(outcome.lines) == ["whole", "hippocampus silenced", "never had a hippocampus"] and len(outcome.rows) == 30
    assert outcome.levels == {"chance": 1 / 8}


def test_a_brain_without_hippocampus_stays_without(monkeypatch):
    monkeypatch.setattr(recall, "STREAMS", 4)
    brain = recall.train(0, False, 3, lambda loss: None)
    assert not brain.wiring["hippocampus_prefrontal"].weight.any()
    tokens = recall.exam(5, 8, torch.Generator().manual_seed(1))
    with torch.no_grad():
        before, _ = brain(tokens)
        brain.lesions.modules["hippocampus"] = 0.0
        torch.testing.assert_close(brain(tokens)[0], before, atol=1e-5, rtol=1e-4)


def test_the_second_text_is_the_first_in_a_cipher(text, monkeypatch):
    monkeypatch.setattr(forgetting, "REPLAY", Consolidation(every=2, tokens=64))
    lessons, _ = rules.task("plays", rules.settings("bptt", 4), 0)
    cipher = torch.randperm(VOCABULARY, generator=torch.Generator().manual_seed(5))
    both = forgetting.TwoTexts(lessons, cipher)
    assert torch.equal(both.batch(1).inputs, lessons.batch(1).inputs)
    assert torch.equal(both.batch(2).targets, cipher[lessons.batch(2).targets])
    brain = rules.brain(VOCABULARY, "bptt", 0).eval()
    found = both.evaluate(brain, "validation")
    assert found["first"] == pytest.approx(lessons.evaluate(brain, "validation")["loss"], rel=1e-5)
    assert found["second"] != found["first"] and found["loss"] == pytest.approx((found["first"] + found["second"]) / 2)


@pytest.mark.parametrize("steps", [2, 9])
def test_forgetting_is_shown_with_and_without_consolidation(text, steps):
    outcome = forgetting.run(1, "plays", steps)
    assert {row["tokens"] for row in outcome.rows} >= {half * steps * rules.STREAMS * rules.CONTEXT for half in (1, 2)}
    assert len(outcome.lines) == 4 and [row["way"] for row in outcome.summary] == ["without consolidation", "with consolidation"]
    assert all(value > 0 for row in outcome.summary for key, value in row.items() if key != "way")


@pytest.mark.parametrize("way", footprint.WAYS)
def test_a_footprint_is_what_the_peak_gains(way, monkeypatch):
    monkeypatch.setattr(footprint, "LENGTHS", (2, 3))
    found = footprint.measure(way)
    assert found[0] == 0 <= found[1]


def test_an_unknown_experiment_is_said(text):
    with pytest.raises(UserError, match="--only nothing is no experiment: choose from learning, recall, consolidation, memory"):
        CliRunner().invoke(experiments.app, ["neurogen", "--only", "nothing"], catch_exceptions=False)


def test_a_data_set_that_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="run `python -m pipeline tokenize plays`, or name another data set by --data"):
        study.run(["learning"], tmp_path, 1, "plays")
