"""A project with one training of some seconds, and ways to disturb it."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipeline import io

PACKAGE = Path(__file__).resolve().parents[2] / "pipeline"
PARAMETERS = """
seed: 5
datasets:
  text:
    kind: text
    source: {kind: local, path: text.txt}
    tokenizer: {kind: characters}
    split: {method: contiguous, validation: 0.1, test: 0.1}
models:
  small:
    family: transformer
    dataset: text
    architecture:
      {hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 48, max_position_embeddings: 16, dropout: 0.1}
    training: {steps: 480, batch_size: 8, optimizer: muon, warmup_steps: 20, evaluate_every: 120, checkpoint_every: 8, sample_every: 160}
    quantization: {method: mse}
    formats: [huggingface]
    evaluation: {prompt: a}
"""
OUTPUTS = ("models/small/model.safetensors", "models/small/config.json", "metrics/small/train.json", "plots/small/train.csv")


class Project:
    """A folder with params.yaml and its own copy of the package, which commands in this folder take before an installed one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("QUINTET_", "DVC_", "MLFLOW_", "PYTHONPATH"))}
        self.environment = {**kept, "QUINTET_TRACKING": "off"}

    def run(self, *arguments: str) -> str:
        """Run a command to its good end; returns what it said on stderr, on one line."""
        process = self._popen(arguments, stderr=subprocess.PIPE)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return " ".join(said.split())

    def _popen(self, arguments: tuple[str, ...], stderr: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "pipeline", *arguments]
        options = {"stdout": subprocess.DEVNULL, "stderr": stderr, "text": True, "start_new_session": True}
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, **options)

    def start(self) -> subprocess.Popen[str]:
        """The training in a process of its own, as soon as it has saved a checkpoint that was not there before."""
        before = self.checkpoints()
        process = self._popen(("train", "small"), stderr=subprocess.DEVNULL)
        while process.poll() is None and self.checkpoints() == before:
            time.sleep(0.01)
        return process

    def checkpoints(self) -> list[Path]:
        """Oldest first."""
        return sorted((self.folder / ".quintet/state").glob("*/*.safetensors"))

    def hashes(self) -> dict[str, str]:
        """SHA-256 of everything that the training publishes."""
        return {name: io.sha256(self.folder / name) for name in OUTPUTS}

    def copy(self, folder: Path) -> "Project":
        """The same, state and all, in another place."""
        shutil.copytree(self.folder, folder)
        return Project(folder)


def prepare(folder: Path) -> Project:
    """The project with its data ready."""
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "params.yaml").write_text(PARAMETERS)
    words = ("and", "but", "the", "moon", "sun", "rises", "falls", "slowly")
    text = (f"{a} {b} {c}{'.' if i % 7 else '!'}\n" for i, (a, b, c) in enumerate(itertools.product(words, repeat=3)))
    (folder / "text.txt").write_text("".join(text) * 3)
    project = Project(folder)
    for stage in ("download", "tokenize"):
        project.run(stage, "text")
    return project


def stop(process: subprocess.Popen[str], how: signal.Signals) -> int:
    """Send a signal to the process and its children; returns the exit code (minus the signal's number where it died of it)."""
    if process.poll() is None:
        os.killpg(process.pid, how)
    return process.wait(timeout=60)
