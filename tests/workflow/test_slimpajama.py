"""Preset `slimpajama` on a local folder of documents, which stands for the hub."""

import json
from pathlib import Path

import pytest

from tests.workspace import PROJECT, clone

GPT2 = PROJECT.parent / "shared/data/gpt2"


@pytest.mark.full
def test_it_runs_on_a_folder_of_documents(tmp_path: Path) -> None:
    workspace = clone(tmp_path / "quintet")
    workspace.pipeline("preset", "slimpajama")
    documents = workspace.folder / "documents"
    documents.mkdir()
    for i in range(200):
        line = {"text": f"Document {i} says what the others say, and adds that its number is {i}. " * 12}
        (documents / f"{i:03}.jsonl").write_text(json.dumps(line) + "\n")
    tokenizer = {"kind": "gpt2", "path": str(GPT2)} if GPT2.exists() else {"kind": "bpe", "vocab_size": 400}
    sizes = dict.fromkeys(("thalamus", "hippocampus", "basal_ganglia"), 16) | dict.fromkeys(("wernicke", "prefrontal", "broca"), 32)
    short = {"steps": 3, "warmup_steps": 1, "batch_size": 4, "evaluate_every": 3, "device": "cpu"}
    workspace.set(
        datasets__slimpajama__source={"kind": "local", "path": "documents"},
        datasets__slimpajama__tokenizer=tokenizer,
        models__neurogen__architecture=sizes,
        **{f"models__neurogen__training__{key}": value for key, value in short.items()},
        **{f"models__neurogen__quantization__training__{key}": value for key, value in short.items()},
    )
    for stage in ("download", "tokenize"):
        workspace.pipeline(stage, "slimpajama")
    for stage in ("train", "quantize", "convert", "evaluate"):
        workspace.pipeline(stage, "neurogen")
    figures = json.loads(workspace.read("metrics/neurogen/evaluate.json"))
    assert {"float", "quantized", "safetensors", "onnx"} <= figures.keys()
    assert abs(figures["quantized"]["loss"] - figures["onnx"]["loss"]) < 1e-3
