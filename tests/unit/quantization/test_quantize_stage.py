"""The stage `quantize` in a project of its own, as the command line runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline import models, paths, quantization
from tests.unit.quantization.small_model import float_model

PARAMETERS = """
seed: 1
datasets:
  sums: {kind: arithmetic}
models:
  tiny: {family: transformer, dataset: sums, architecture: {}, training: {}, quantization: {}, formats: [onnx], evaluation: {}}
"""


@pytest.fixture
def project(tmp_path, model):
    (tmp_path / "params.yaml").write_text(PARAMETERS)
    directory = tmp_path / paths.model("tiny")
    models.save(model.state_dict(), model.config, directory / "model.safetensors", directory / "config.json")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (directory / name).write_text(f'{{"{name}": 1}}')
    ready = tmp_path / paths.ready("sums")
    ready.mkdir(parents=True)
    for name in paths.READY_FILES:
        (ready / name).write_bytes(b"{}")
    return tmp_path


def quantize(project, **environment):
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "QUINTET_TRACKING": "off", **environment}
    command = [sys.executable, "-m", "pipeline", "quantize", "tiny"]
    return subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True, check=False)


def outputs(project):
    return {path: (project / path).read_bytes() for path in paths.files("quantize", "tiny", "sums").outputs}


def test_outputs_metrics_and_bytes(project):
    result = quantize(project, OMP_NUM_THREADS="1")
    assert result.returncode == 0, result.stderr
    first = outputs(project)
    quantized = project / paths.quantized("tiny")
    float_directory = project / paths.model("tiny")
    assert (quantized / "tokenizer.json").read_bytes() == (float_directory / "tokenizer.json").read_bytes()
    metrics = json.loads((project / paths.metrics("tiny", "quantize")).read_text())["quantized"]
    source = models.load(float_directory)
    assert metrics["weights"] == sum(p.numel() for p in source.quantizable().values())
    assert metrics["bytes"] == sum(m.nbytes for m in quantization.load(quantized).modules() if hasattr(m, "codes"))
    table = (project / paths.plot("tiny", "quantize")).read_text().splitlines()
    assert table[0] == "name,rows,columns,levels,bits_per_weight,snr_db,share_-2,share_-1,share_0,share_1,share_2"
    assert len(table) == 1 + len(source.quantizable())
    assert quantize(project, OMP_NUM_THREADS="2", PYTHONHASHSEED="7").returncode == 0
    assert outputs(project) == first


def test_a_model_that_diverged_stops_with_one_sentence(project):
    module = float_model()
    with torch.no_grad():
        module.model.embed_tokens.weight[0, 0] = float("inf")
    directory = project / paths.model("tiny")
    models.save(module.state_dict(), module.config, directory / "model.safetensors", directory / "config.json")
    result = quantize(project)
    assert result.returncode == 2
    assert result.stderr.startswith("error: models/tiny/model.safetensors: model.embed_tokens.weight holds weights that are not finite")
    assert not (project / paths.quantized("tiny")).exists()
