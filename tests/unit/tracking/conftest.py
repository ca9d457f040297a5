"""A project folder with an empty store, and stages that log what real ones do."""

import math
import shutil
from pathlib import Path

import pytest

from pipeline import io
from pipeline.apps import sync
from pipeline.tracking import open_log

SPLITS = {"train": b"to be, or not to be", "test": b"that is the question"}


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """SQLite with MLflow's tables, which take it a while to make."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def project(tmp_path, monkeypatch, empty_store):
    shutil.copy(empty_store, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUINTET_TRACKING", "off")
    for name in ("DVC_ROOT", "QUINTET_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def train(key: str, rate: float = 0.004, steps: int = 30, killed_at: int | None = None, name: str = "shakespeare") -> None:
    """A training's events; `killed_at` leaves the log as a kill at that step would."""
    block = {f"models.{name}.family": "transformer", f"models.{name}.training": {"learning_rate": rate, "steps": steps}}
    with open_log("train", name, {"seed": 1, **block}) as log:
        log.run(key)
        for split, content in SPLITS.items():
            file = Path(f"data/ready/plays/{split}.safetensors")
            io.write_bytes(file, content)
            log.dataset("plays", file, split, {"tokens": len(content)})
        for step in range(10, steps + 1, 10):
            if killed_at == step:
                log.usable = False
            log.metrics({"train/loss": loss(rate, step), "train/tokens": 768.0 * step}, step)
        log.text("samples/00000030.txt", "ROMEO:\n")
        metrics, curve = Path(f"metrics/{name}/train.json"), Path(f"plots/{name}/train.csv")
        io.write_json(metrics, {"test": {"loss": loss(rate, steps)}, "parameters": 22720})
        io.write_csv(curve, [{"step": step, "tokens": 768 * step, "train_loss": loss(rate, step)} for step in range(10, steps + 1, 10)])
        log.published([metrics, curve])


def evaluate(key: str, value: float = 1.5, problems: int = 0, name: str = "shakespeare") -> None:
    """A later stage of the same model."""
    with open_log("evaluate", name, {f"models.{name}.evaluation": {"problems": problems}}) as log:
        log.run(key)
        metrics, card = Path(f"metrics/{name}/evaluate.json"), Path(f"exports/{name}/huggingface/README.md")
        io.write_json(metrics, {"float": {"loss": value}, "quantized": {"loss": value + 0.1}})
        io.write_bytes(card, b"---\ntags: [quintet]\n---\n\n# shakespeare\n")
        log.published([metrics, Path(f"exports/{name}")])


def judge(key: str, value: float, name: str, figure: str = "bits_per_byte", prompt: str | None = "to be", rate: float = 0.004) -> None:
    """A training, and the evaluation of the packed model in `quantized/NAME`, as if it came out of it; both are brought into MLflow."""
    train(key, rate, name=name)
    io.write_bytes(Path(f"quantized/{name}/made.txt"), key.encode())
    files = [*sorted(Path(f"quantized/{name}").iterdir()), Path("data/ready/plays/test.safetensors")]
    with open_log("evaluate", name, {f"models.{name}.evaluation": {"windows": 0, "problems": 0, "prompt": prompt}}) as log:
        log.run(key)
        figures, metrics = {figure: value, "bytes": 4321, "bits_per_weight": 2.4}, Path(f"metrics/{name}/evaluate.json")
        inputs = [[str(file), io.sha256(file)] for file in files]
        io.write_json(metrics, {"float": {**figures, figure: value - 0.1}, "quantized": figures, "inputs": inputs})
        log.published([metrics])
    sync.replay()


def loss(rate: float, step: int) -> float:
    return 3.0 * math.exp(-rate * step)
