"""A project in a folder of its own with two tiny random models, quantized and ready to be converted."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from pipeline import io, models, paths
from pipeline.config import load
from pipeline.data import tokenizers
from pipeline.schema.formats import FORMATS
from pipeline.stages import runner
from tests.workspace import PROJECT, environment

TEXT = "Der Mann, der den Weg wagt, fragt: wohin? – Weiter!\nDie Frau weiß es; sie geht.\n" * 12
ARCHITECTURE = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 36, "max_position_embeddings": 24}
REST = {"training": {"steps": 10, "warmup_steps": 1}, "quantization": {"method": "mse"}}


def formats(family: str) -> list[str]:
    """All that hold a family."""
    return [name for name, entry in FORMATS.items() if family in entry.families]


PARAMETERS = {
    "seed": 3,
    "datasets": {
        "text": {
            "kind": "text",
            "source": {"kind": "local", "path": "text.txt"},
            "tokenizer": {"kind": "characters"},
            "split": {"validation": 0.2, "test": 0.2},
        },
        "sums": {"kind": "arithmetic", "maximum": 12, "split": {"method": "documents", "validation": 0.2, "test": 0.2}},
    },
    "models": {
        "writer": {
            "family": "transformer",
            "dataset": "text",
            "architecture": {**ARCHITECTURE, "num_key_value_heads": 2},
            "evaluation": {"prompt": "Der ", "new_tokens": 30},
            "formats": formats("transformer"),
            **REST,
        },
        "adder": {
            "family": "transformer",
            "dataset": "sums",
            "architecture": {
                **ARCHITECTURE,
                "hidden_size": 32,
                "intermediate_size": 256,
                "num_hidden_layers": 1,
                "tie_word_embeddings": False,
            },
            "evaluation": {"prompt": "3+4="},
            "formats": formats("transformer"),
            **REST,
        },
        "gates": {
            "family": "gru",
            "dataset": "text",
            "architecture": {"hidden_size": 20, "embedding_size": 12, "num_hidden_layers": 2, "context": 24},
            "evaluation": {"new_tokens": 30},
            "formats": formats("gru"),
            **REST,
        },
        "neurons": {
            "family": "realnet",
            "dataset": "text",
            "architecture": {"num_neurons": 24, "input_neurons": 20, "output_neurons": 16, "think_steps": 2, "context": 24},
            "evaluation": {"new_tokens": 30},
            "formats": formats("realnet"),
            **REST,
        },
    },
}
MODELS = ("writer", "adder")
"""The transformers."""
RECURRENT = ("gates", "neurons")
"""Models with a recurrent state."""


def stage(folder: Path, name: str, target: str) -> None:
    """Run a stage within this process, which saves the time of its imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("QUINTET_TRACKING", "off")
        runner.run(name, target)


def stage_elsewhere(folder: Path, name: str, target: str, **extra: str) -> None:
    """Run a stage in a process of its own."""
    command, env = [sys.executable, "-m", "pipeline", name, target], environment(PYTHONPATH=str(PROJECT), **extra)
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def copy(project: Path, folder: Path) -> None:
    """The project before `convert` at another place."""
    shutil.copy(project / "params.yaml", folder)
    for part in ("data", "models", "quantized"):
        shutil.copytree(project / part, folder / part)


def create(folder: Path) -> Path:
    """Write the project, and run it up to the quantized models; training is replaced by random weights."""
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMETERS))
    for dataset in PARAMETERS["datasets"]:
        stage(folder, "download", dataset)
        stage(folder, "tokenize", dataset)
    for name in PARAMETERS["models"]:
        _random_model(folder, name)
        stage(folder, "quantize", name)
    return folder


def _random_model(folder: Path, name: str) -> None:
    block = load(folder / "params.yaml").models[name]
    ready, target = folder / paths.ready(block.dataset), folder / paths.model(name)
    described = io.read_json(ready / "dataset.json")
    quintet = {"dataset": block.dataset, "task": described["kind"], "training_key": "0123456789abcdef"}
    quintet |= {"codec": described["codec"]} if "codec" in described else {}
    quintet |= {"recurrent": True} if block.architecture.recurrent else {}
    config = models.family(block.family).configuration(block.architecture, described["vocab_size"], tokenizers.load(ready).eos, quintet)
    module = models.create(config, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    models.save(module.state_dict(), config, target / "model.safetensors", target / "config.json")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        io.write_bytes(target / file, (ready / file).read_bytes())


def converted(folder: Path, name: str) -> dict[str, bytes]:
    """Everything that `convert` published, by its path."""
    files = [folder / paths.metrics(name, "convert"), *(path for path in (folder / paths.exports(name)).rglob("*") if path.is_file())]
    return {os.fspath(path.relative_to(folder)): path.read_bytes() for path in files}
