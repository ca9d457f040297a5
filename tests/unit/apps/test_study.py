"""The studies of quantization, on sums of small numbers."""

import csv
import json
import re

import pytest

from pipeline.apps import ablation, matched, widths
from pipeline.errors import UserError
from pipeline.schema.quantization import Quantization
from pipeline.stages.runner import run

TRAINING = "{steps: 30, batch_size: 32, learning_rate: 0.01, warmup_steps: 3, evaluate_every: 30}"
PARAMETERS = f"""
seed: 1
datasets:
  sums: {{kind: arithmetic, maximum: 12}}
models:
  adder:
    family: transformer
    dataset: sums
    architecture: {{hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32, max_position_embeddings: 16}}
    training: {TRAINING}
    quantization: {{method: qat, training: {TRAINING}, final_steps: 4, ptq: {{calibration: 64, held_out: 16}}}}
    formats: [onnx]
    evaluation: {{}}
  plain:
    family: transformer
    dataset: sums
    architecture: {{}}
    training: {{}}
    quantization: {{}}
    formats: [onnx]
    evaluation: {{}}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUINTET_TRACKING", "off")
    (tmp_path / "params.yaml").write_text(PARAMETERS)
    run("download", "sums")
    run("tokenize", "sums")
    return tmp_path


def test_each_number_of_levels_sees_the_same_tokens(project, monkeypatch, capsys):
    folder = project / "out"
    widths.run("adder", folder, ["3", "15", "float"], 2, 0)
    rows = list(csv.DictReader((folder / "study.csv").read_text().splitlines()))
    assert [row["levels"] for row in rows] == ["3", "15", "float"]
    assert len({row["tokens"] for row in rows}) == 1
    assert float(rows[0]["bits/weight on disk"]) < float(rows[1]["bits/weight on disk"]) < float(rows[2]["bits/weight on disk"])
    assert float(rows[0]["validation loss"]) > float(rows[2]["validation loss"]) and float(rows[2]["above float"]) == 0
    one = json.loads((folder / "seed-1/15.json").read_text())
    assert one["bytes"] == (folder / "seed-1/15/model.safetensors").stat().st_size and one["packed_bits_per_weight"] > 4
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    assert "the same tokens" in capsys.readouterr().out

    def refuse(*arguments):
        raise AssertionError("it trains again")

    monkeypatch.setattr(widths, "Trainer", refuse)
    monkeypatch.setattr(widths, "Quantizer", refuse)
    widths.run("adder", folder, ["3", "15", "float"], 2, 0)
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(UserError, match="is of other parameters"):
        widths.run("adder", folder, ["3"], 1, 100)


def test_the_ablation_has_a_row_for_each_step(project, capsys):
    run("train", "adder")
    ablation.run("adder", 0)
    printed = capsys.readouterr().out
    assert all(f"without {step}" in printed for step in ablation.STEPS) and "none (least squared error)" in printed
    variants = dict(ablation.variants(Quantization(ptq={"search": False})))
    assert variants["all"].ptq.search and not variants["without search"].ptq.search and variants["without search"].ptq.refit


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("adder", ["6"]), "--levels: '6' is not one of 3, 4, 5, 7, 9, 15, 256, float"),
        (("addr", ["5"]), "did you mean 'adder'"),
        (("plain", ["5"]), "models.plain.quantization has no block training"),
    ],
)
def test_mistakes_are_one_sentence(project, arguments, sentence):
    with pytest.raises(UserError) as caught:
        widths.run(arguments[0], project / "out", arguments[1], 1, 0)
    assert sentence in str(caught.value)


def test_a_float_model_of_the_same_tokens_is_compared(project, capsys):
    with pytest.raises(UserError, match=r"models/adder"):
        matched.run("adder", project / "out")
    run("train", "adder")
    run("quantize", "adder")
    matched.run("adder", project / "out")
    table = capsys.readouterr().out
    rows = re.findall(r"^ *(float|few levels|float, same tokens|the same, then ptq) +(\d+) +\S+ +\S+ +\S+ +(\S+)", table, re.M)
    assert [title for title, _, _ in rows] == ["float", "few levels", "float, same tokens", "the same, then ptq"]
    (_, first, _), (_, few, above), (_, same, itself), (_, again, rounded) = rows
    assert int(few) == int(same) == int(again) > int(first) and itself == "+0.0000" != above and rounded != itself
    (weights,) = (project / "out").glob("adder-*/model.safetensors")
    before = weights.read_bytes()
    weights.with_name("state").mkdir(exist_ok=True)
    matched.run("adder", project / "out")
    assert capsys.readouterr().out == table and weights.read_bytes() == before, "what is there is taken"
