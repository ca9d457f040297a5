"""A project folder with the results of two models, as their stages write them."""

from pathlib import Path
from typing import Any

import pytest

from pipeline import config as configuration
from pipeline import io, paths

PROJECT = Path(__file__).resolve().parents[3]
PARITY = {"max_logit_difference": 2.2e-6, "kl_divergence": 2.4e-14, "greedy_equal": 1.0, "bytes": 44576}
SIZES = {"float": {"bytes": 3040000, "bits_per_weight": 32.1}, "quantized": {"bytes": 231000, "bits_per_weight": 2.44}}
LEVELS = {"share_-2": 0.1, "share_-1": 0.25, "share_0": 0.3, "share_1": 0.25, "share_2": 0.1}


@pytest.fixture
def config():
    return two_models()


def two_models() -> configuration.Config:
    """The preset `smoke`, without the models of which there are no results here."""
    whole = configuration.load(PROJECT / "presets/smoke.yaml")
    return whole.model_copy(update={"models": {name: whole.models[name] for name in ("shakespeare", "calculator")}})


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Results of `shakespeare` (language) and `calculator` (arithmetic) below the working directory."""
    monkeypatch.chdir(tmp_path)
    language = {name: {**SIZES[name], "loss": loss, "perplexity": 4.9, "bits_per_byte": loss / 0.69} for name, loss in MODELS}
    baselines = {
        "unigram": {"loss": 3.3, "bits_per_byte": 4.78},
        "bigram": {"loss": 2.4, "bits_per_byte": 3.47},
        "bzip2": {"bits_per_byte": 3.49},
    }
    write("shakespeare", language, baselines, [{"position": i, "float": 2 / i, "quantized": 2.1 / i} for i in range(1, 33)])
    shares = {"exact_match": 0.998, "exact_match_low": 0.99, "exact_match_high": 0.9995, "problems": 1020}
    arithmetic = {name: {**SIZES[name], **shares, "loss": loss, "test_types": {"expression_complete": 0.25}} for name, loss in MODELS}
    rows = [{"operator": "+", "digits": 2, "carries": 1, "problems": 12, **detail("float", 1.0), **detail("quantized", 0.75)}]
    write("calculator", arithmetic, {"most_frequent_answer": {"exact_match": 0.014}}, rows)
    return tmp_path


MODELS = (("float", 1.5), ("quantized", 1.56))


def detail(name: str, share: float) -> dict[str, float]:
    return {name: share, f"{name}_low": share - 0.1, f"{name}_high": share}


def write(name: str, evaluated: dict[str, Any], baselines: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """All files of one model."""
    formats = {format: evaluated["quantized"] for format in ("huggingface", "onnx")}
    inputs = [[f"models/{name}/model.safetensors", "c0ffee" * 10]]
    io.write_json(
        paths.metrics(name, "train"), {"parameters": 760000, "steps": 60, "best_step": 40, "tokens": 15360, "test": {"loss": 1.5}}
    )
    matrices = {"bits_per_weight": 2.43, "bits_per_weight_on_disk": 2.45, "bytes": 230000, "compression": 13.2, "weight_snr_db": 13.2}
    io.write_json(paths.metrics(name, "quantize"), {"quantized": matrices})
    io.write_json(paths.metrics(name, "convert"), {format: PARITY for format in ("model_directory", "huggingface", "onnx")})
    io.write_json(paths.metrics(name, "evaluate"), {**evaluated, **formats, "baselines": baselines, "inputs": inputs})
    extra = {"validation_exact_match": 0.5} if name == "calculator" else {}
    curve = [
        {"step": s, "tokens": s * 256, "train_loss": 60 / s, "validation_loss": 61 / s, **extra, "learning_rate": 0.1} for s in (20, 40, 60)
    ]
    io.write_csv(paths.plot(name, "train"), curve)
    matrix = {"name": "model.layers.0.mlp.up_proj.weight", "rows": 384, "columns": 128, "bits_per_weight": 2.43}
    io.write_csv(
        paths.plot(name, "quantize"), [{**matrix, "snr_db": 13.2, **LEVELS}, {**matrix, "name": "exact", "snr_db": None, **LEVELS}]
    )
    io.write_csv(paths.plot(name, "evaluate"), rows)
    io.write_bytes(paths.samples(name), b"=== float ===\nROMEO: <b>soft</b> & light\n\n=== quantized ===\nwhat yonder\n")
