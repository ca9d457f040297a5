"""The lesion report of several brains: named ones, or trained with seeds of their own."""

import csv
import shutil
import statistics
from pathlib import Path
from unittest.mock import Mock

import pytest
from typer.testing import CliRunner

from pipeline.apps import experiments, widths
from pipeline.apps.neurogen import report, seeds
from pipeline.errors import UserError
from pipeline.stages.runner import run

ARCHITECTURE = """{thalamus: 16, wernicke: 32, hippocampus: 16, prefrontal: 32, basal_ganglia: 16, broca: 32, key_size: 8, context: 8,
      sensation_steps: 1, perception_steps: 1, integration_steps: 1, selection_steps: 1, action_steps: 1}"""
TRAINING = "{steps: 3, batch_size: 4, carry_state: true, warmup_steps: 1, evaluate_every: 3, validation_tokens: 64}"
PARAMETERS = f"""
seed: 7
datasets:
  words: {{kind: text, source: {{kind: local, path: words.txt}}, tokenizer: {{kind: characters}}, split: {{method: contiguous}}}}
models:
  brain:
    family: neurogen
    dataset: words
    architecture: {ARCHITECTURE}
    training: {TRAINING}
    quantization: {{}}
    formats: [safetensors]
    evaluation: {{}}
"""


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUINTET_TRACKING", "off")
    (tmp_path / "words.txt").write_text("the quick brown fox jumps over the lazy dog. " * 200)
    (tmp_path / "params.yaml").write_text(PARAMETERS)
    run("download", "words")
    run("tokenize", "words")
    return tmp_path


def call(*arguments: str) -> str:
    result = CliRunner().invoke(experiments.app, ["neurogen", *arguments, "--tokens", "256"], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_seeds_are_trained_once_and_reported_together(project, monkeypatch):
    assert "2 brains, intact" in call("--seeds", "2", "--folder", "out")
    both, each = table(Path("out/lesions.csv")), [table(Path(f"out/seed-{seed}/lesions.csv")) for seed in (7, 8)]
    assert len(both) == 16 and Path("out/lesions.svg").exists() and Path("out/seed-8/raster.svg").exists()
    for row, *found in zip(both, *each, strict=True):
        added = [float(one["silenced"]) for one in found]
        assert added[0] != added[1] and {one["part"] for one in found} == {row["part"]}
        assert float(row["silenced"]) == pytest.approx(statistics.fmean(added)) and float(row["silenced: least"]) == min(added)
        assert float(row["silenced: deviation"]) == pytest.approx(statistics.stdev(added))

    monkeypatch.setattr(widths, "Trainer", None)  # whoever trains again fails
    monkeypatch.setattr(report, "pictures", Mock())
    before = Path("out/lesions.csv").read_bytes()
    call("--seeds", "2", "--folder", "out")
    assert Path("out/lesions.csv").read_bytes() == before
    call("--model", "out/seed-7", "--model", "out/seed-8", "--folder", "named")
    assert Path("named/lesions.csv").read_bytes() == before and Path("named/model-2/lesions.csv").exists()


def test_one_seed_is_one_report(project, monkeypatch):
    monkeypatch.setattr(report, "pictures", Mock())
    assert "2 brains" not in call("--seeds", "1", "--folder", "out")
    assert Path("out/lesions.csv").exists() and Path("out/seed-7/model.safetensors").exists()


def test_the_first_seed_is_the_projects_own_model(project):
    seeds.train(1, Path("out"))
    shutil.copytree("out/seed-7", "models/brain")
    assert seeds.train(1, Path("other")) == [(Path("models/brain"), Path("other/seed-7"))] and not Path("other").exists()


def test_what_cannot_be_is_said(project):
    with pytest.raises(UserError, match="--seeds trains brains of its own"):
        seeds.run(["models/brain"], 2, Path("out"), 256)
    seeds.train(1, Path("out"))
    shutil.copytree("out/seed-7", "out/seed-8")
    with pytest.raises(UserError, match="seed-8 is of other parameters: name another --folder"):
        seeds.train(2, Path("out"))
    Path("params.yaml").write_text(PARAMETERS.replace("neurogen", "gru").replace(ARCHITECTURE, "{hidden_size: 16}"))
    with pytest.raises(UserError, match="no model of the family neurogen"):
        seeds.train(1, Path("out"))
