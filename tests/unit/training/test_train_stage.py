"""The stage `train` in a project of its own, as the command line runs it."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline import models, paths
from pipeline.data import tokenizers
from pipeline.models.generation import generate

PARAMETERS = """
seed: 3
datasets:
  text:
    kind: text
    source: {kind: local, path: text.txt}
    tokenizer: {kind: characters}
    split: {method: contiguous, validation: 0.1, test: 0.0}
  sums: {kind: arithmetic, maximum: 12}
models:
  talker:
    family: transformer
    dataset: text
    architecture: &tiny {hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16, max_position_embeddings: 16}
    training: &short {steps: 20, batch_size: 4, warmup_steps: 2, evaluate_every: 10, sample_every: 10}
    quantization: {}
    formats: [huggingface]
    evaluation: {}
  adder: {family: transformer, dataset: sums, architecture: *tiny, training: *short, quantization: {}, formats: [onnx], evaluation: {}}
"""


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "QUINTET_TRACKING": "off",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("project")
    (project / "params.yaml").write_text(PARAMETERS)
    (project / "text.txt").write_text("she sells sea shells by the sea shore, " * 60)
    for command in ("download text", "download sums", "tokenize text", "tokenize sums", "train talker", "train adder"):
        done = run(project, *command.split())
        assert done.returncode == 0, done.stderr
    return project


@pytest.mark.parametrize("name", ["talker", "adder"])
def test_the_directory_is_whole_and_transformers_reads_it(trained: Path, name: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = trained / paths.model(name)
    assert sorted(path.name for path in folder.iterdir()) == sorted(paths.MODEL_FILES)
    module, tokenizer = models.load(folder), tokenizers.load(folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    prompt = tokenizer.encode("sea s" if name == "talker" else "12+01")
    assert AutoTokenizer.from_pretrained(folder)("sea s" if name == "talker" else "12+01")["input_ids"] == prompt

    text = theirs.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=tokenizer.eos)
    assert text[0, len(prompt) :].tolist() == generate(module, [prompt], 8)[0]


def test_config_says_what_the_model_is_for(trained: Path) -> None:
    talker, adder = (models.read_config(trained / paths.model(name)) for name in ("talker", "adder"))
    assert {key: talker["quintet"][key] for key in ("family", "dataset", "task")} == {
        "family": "transformer",
        "dataset": "text",
        "task": "language",
    }
    assert adder["quintet"]["task"] == "arithmetic"
    assert adder["quintet"]["codec"]["maximum"] == 12
    assert talker["quintet"]["training_key"] != adder["quintet"]["training_key"]


def test_metrics_and_curve(trained: Path) -> None:
    talker, adder = (json.loads((trained / paths.metrics(name, "train")).read_text()) for name in ("talker", "adder"))
    assert talker["test"] == talker["validation"]
    assert talker["tokens"] == 20 * 4 * 16
    assert set(adder["validation"]) == {"loss", "exact_match"}
    rows = list(csv.DictReader((trained / paths.plot("adder", "train")).open()))
    assert [row["step"] for row in rows] == ["10", "20"]
    best = min(rows, key=lambda row: (-float(row["validation_exact_match"]), float(row["validation_loss"])))
    assert float(best["validation_loss"]) == pytest.approx(adder["validation"]["loss"])
    assert int(best["step"]) == adder["best_step"]


def test_events_have_rates_and_samples_and_outputs_have_none(trained: Path) -> None:
    logs = [path.read_text() for path in sorted((trained / ".quintet/events").glob("*train-talker*"))]
    events = [json.loads(line) for log in logs for line in log.splitlines()]
    assert [event["name"] for event in events if event["event"] == "text"] == ["samples/00000010.txt", "samples/00000020.txt"]
    values = [event["values"] for event in events if event["event"] == "metrics"]
    assert any(value.get("train/tokens_per_second", 0) > 0 for value in values)
    assert "seconds" not in (trained / paths.metrics("talker", "train")).read_text()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "max_position_embeddings: 16",
            "max_position_embeddings: 900",
            "architecture.max_position_embeddings = 900 is too long for the validation split",
        ),
        ("warmup_steps: 2", "warmup_steps: 2, device: cuda", "training.device is cuda, but torch finds no CUDA device"),
        ("warmup_steps: 2", "warmup_steps: 20", "warmup_steps (20) must be below steps (20)"),
    ],
)
def test_what_cannot_be_is_one_sentence_before_any_work(trained: Path, tmp_path: Path, old: str, new: str, sentence: str) -> None:
    project = shutil.copytree(trained, tmp_path / "project")
    (project / "params.yaml").write_text(PARAMETERS.replace(old, new))
    done = run(project, "train", "talker")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and sentence in done.stderr and len(done.stderr.strip().splitlines()) == 1
