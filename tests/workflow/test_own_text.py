"""A text of one's own, from its file to an evaluated model by two commands; and one of a gigabyte, within bounds."""

import json
from pathlib import Path

import pytest

from tests.workspace import Workspace, clone

LINE = "Whoever reads line {} of this text will know that it has a number, and that the next one has another.\n"
PEAK = """
import resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "pipeline", *sys.argv[1:]])
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(done.returncode)
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return clone(tmp_path / "quintet")


@pytest.mark.full
def test_two_commands_lead_to_an_evaluated_model(workspace: Workspace) -> None:
    (workspace.folder / "novel.txt").write_text("".join(map(LINE.format, range(1500))))
    assert "Next: `dvc repro evaluate@novel`" in workspace.pipeline("add", "novel.txt")
    workspace.set(models__novel__training__steps=60, models__novel__training__evaluate_every=30)  # so that the test is short
    workspace.run("dvc", "repro", "evaluate@novel", OMP_NUM_THREADS="1")
    figures = json.loads(workspace.read("metrics/novel/evaluate.json"))
    assert {"float", "quantized", "huggingface", "onnx"} <= figures.keys()
    assert figures["quantized"]["bytes"] < figures["float"]["bytes"] / 5
    assert figures["quantized"]["bits_per_byte"] < figures["baselines"]["unigram"]["bits_per_byte"]
    assert workspace.run("bash", "-c", "echo Whoever | python -m pipeline console novel")


@pytest.mark.full
def test_a_gigabyte_is_made_ready_in_bounded_memory(workspace: Workspace) -> None:
    piece = "".join(map(LINE.format, range(10_000)))
    with (workspace.folder / "big.txt").open("w") as file:
        while file.tell() < 10**9:
            file.write(piece)
    workspace.pipeline("add", "big.txt")
    for stage in ("download", "tokenize"):
        said = workspace.run("python", "-c", PEAK, stage, "big")
        assert int(said.split()[-1]) < 800_000_000, said
    totals = json.loads(workspace.read("data/ready/big/dataset.json"))["splits"]
    assert totals["train"]["characters"] > 0.99 * 10**9 and totals["test"]["characters"] < 501_000  # the share is rounded
