"""The lesion report: it measures what it says, leaves the brain as it was, and writes tables and pictures."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

from pipeline import models
from pipeline.apps import experiments
from pipeline.apps.neurogen import activity, report
from pipeline.data import shards, tokenizers
from pipeline.errors import UserError
from pipeline.models.neurogen import Brain, Lesions, anatomy
from pipeline.tracking.events import read
from tests.unit.apps import small_speaker
from tests.unit.models.brains import SIZES, VOCABULARY, brain

STEPS = {"sensation": 1, "perception": 2, "integration": 3, "selection": 2, "action": 2}
WINDOWS = np.random.default_rng(0).integers(0, VOCABULARY, (4, 20))


def busy() -> Brain:
    """A brain that has not learned, but is sure of what it says: every part matters."""
    module = brain(phase_steps=STEPS)
    with torch.no_grad():
        module.lm_head.weight.mul_(5)
    return module


@torch.no_grad()
def loss(module: Brain) -> float:
    tokens = torch.from_numpy(WINDOWS)
    logits, _ = module(tokens[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1).double(), tokens[:, 1:].flatten()).item()


@pytest.fixture(scope="module")
def judged() -> tuple[list[dict], report.Intact, Brain]:
    module = busy()
    return *report.judge(module, WINDOWS), module


def test_a_row_is_what_a_lesion_adds(judged):
    rows, intact, module = judged
    found = {row["part"]: row for row in rows}
    whole = loss(module)
    assert intact.nats.mean() == pytest.approx(whole, abs=1e-5)
    for part in ("hippocampus", "broca"):
        for way, value in (("silenced", 0.0), ("held at its mean", intact.means[part])):
            module.lesions = Lesions(modules={part: value})
            assert found[part][way] == pytest.approx(loss(module) - whole, abs=1e-5)
    module.lesions = Lesions(connections={"prefrontal_broca": intact.means["prefrontal"]})
    assert found["prefrontal to broca"]["held at its mean"] == pytest.approx(loss(module) - whole, abs=1e-5)
    module.lesions = Lesions()


def test_every_part_is_judged_and_the_brain_left_whole(judged):
    rows, intact, module = judged
    assert [row["kind"] for row in rows] == ["module"] * 6 + ["connection"] * 10 and len({row["part"] for row in rows}) == 16
    assert all(row[way] != 0 and row[f"{way}: error"] > 0 for row in rows for way in ("silenced", "held at its mean"))
    assert not module.lesions.any() and not module.record
    assert {name: len(mean) for name, mean in intact.means.items()} == SIZES


def test_a_part_that_does_nothing_is_found_out():
    module = busy()
    with torch.no_grad():
        module.wiring["basal_ganglia_broca"].weight.zero_()
    found = {row["part"]: row for row in report.judge(module, WINDOWS)[0]}
    for part in ("basal_ganglia", "prefrontal to basal_ganglia", "basal_ganglia to broca"):
        assert found[part]["silenced"] == pytest.approx(0, abs=1e-6)
    assert abs(found["prefrontal to broca"]["silenced"]) > 1e-3


def test_the_error_is_that_of_independent_streams():
    streams = np.random.default_rng(1).normal(size=(400, 1)) + np.zeros((1, 50))
    assert report.standard_error(streams) == pytest.approx(1 / 20, rel=0.15)


@torch.no_grad()
def test_watched_spikes_are_the_rates_and_lie_in_their_phase():
    module, tokens = busy(), torch.from_numpy(WINDOWS[:1])
    seen = activity.watch(module, tokens)
    module.record = True
    module(tokens)
    rates = dict(zip(SIZES, module.recording.rates[0].split(list(SIZES.values()), 1), strict=True))
    starts = dict(zip(STEPS, np.cumsum([0, *STEPS.values()]), strict=False))
    for phase, names in anatomy.PHASES.items():
        for name in names:
            spikes, inside = seen.spikes[name], slice(starts[phase], starts[phase] + STEPS[phase])
            assert set(spikes.unique().tolist()) == {0.0, 1.0}
            torch.testing.assert_close(spikes[:, :, inside].mean(2), rates[name].T)
            assert spikes.sum() == spikes[:, :, inside].sum()


@torch.no_grad()
def test_the_flow_is_what_a_connection_adds_to_its_target():
    module, tokens = busy(), torch.from_numpy(WINDOWS[:1])
    seen = activity.watch(module, tokens)
    rates = module.by_cycle(tokens, module.initial_state(1))[0]
    for name, source in (("thalamus_wernicke", "thalamus"), ("basal_ganglia_broca", "basal_ganglia")):
        carried = rates[source][0] @ module.wiring[name].weight.T
        torch.testing.assert_close(seen.flow[name], carried.square().mean(1).sqrt())
    assert all(len(heard) == tokens.shape[1] for heard in seen.flow.values())
    assert not any(linear._forward_hooks for linear in module.wiring.values())


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A trained brain's directory, and the test split of its data set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUINTET_TRACKING", "off")
    tokenizer, module = tokenizers.characters("abcdefghij", False), busy()
    config = {**module.config, "eos_token_id": tokenizer.eos}
    config["quintet"] = {"family": "neurogen", "task": "language", "dataset": "plays", "recurrent": True}
    folder = tmp_path / "models/neurogen"
    folder.mkdir(parents=True)
    models.save(module.state_dict(), config, folder / "model.safetensors", folder / "config.json")
    tokenizer.save(folder / "tokenizer.json", folder / "tokenizer_config.json")
    (tmp_path / "data/ready/plays").mkdir(parents=True)
    text = np.random.default_rng(2).integers(0, tokenizer.vocab_size, 700).astype(np.uint8)
    shards.write(tmp_path / "data/ready/plays/test.safetensors", {"tokens": text})
    return tmp_path


FILES = {"lesions.csv", "rates.csv", "lesions.svg", "rates.svg", "raster.svg", "flow.svg"}


def test_the_command_writes_tables_and_pictures(project):
    for folder in ("one", "two"):
        result = CliRunner().invoke(experiments.app, ["neurogen", "--folder", folder, "--tokens", "512"], catch_exceptions=False)
        assert result.exit_code == 0 and "basal ganglia to broca" in result.output and "over 512 tokens" in result.output
    files = {path.name: path.read_bytes() for path in Path("one").iterdir()}
    assert set(files) == FILES and files == {path.name: path.read_bytes() for path in Path("two").iterdir()}
    with Path("one/lesions.csv").open() as file:
        assert [row["part"] for row in csv.DictReader(file)][:2] == ["thalamus", "wernicke"]
    with Path("one/rates.csv").open() as file:
        assert sum(1 for _ in csv.DictReader(file)) == sum(SIZES.values())


def test_the_report_is_logged(project):
    CliRunner().invoke(experiments.app, ["neurogen", "--folder", "one", "--tokens", "512"], catch_exceptions=False)
    (log,) = Path(".quintet/events").glob("*-experiments-neurogen-lesions-*.jsonl")
    events, _ = read(log)
    values = {name: value for event in events if event["event"] == "metrics" for name, value in event["values"].items()}
    assert len(values) == 33 and "lesions/basal_ganglia to broca_ held at its mean" in values and values["lesions/intact"] > 0
    assert {Path(event["path"]).name for event in events if event["event"] == "artifact"} == FILES


def test_what_cannot_be_reported_is_said(project):
    small_speaker.write(project / "other", family="gru")
    with pytest.raises(UserError, match="other is of the family gru"):
        report.run("other", Path("out"), 512)
    with pytest.raises(UserError, match="--tokens is 100"):
        report.run(None, Path("out"), 100)
    Path("data/ready/plays/test.safetensors").unlink()
    with pytest.raises(UserError, match=r"plays/test\.safetensors is missing"):
        report.run(None, Path("out"), 512)
    assert not Path("out").exists()
