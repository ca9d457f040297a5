"""The solver: on a real pseudo-terminal, through a pipe, from a file; every answer is marked, what cannot be read is refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline import models, quantization
from pipeline.apps.calcgpt import CalcGPTTrainer, TrainingConfig
from pipeline.apps.solve import TOGETHER, Solver
from pipeline.apps.trained import open_model
from pipeline.data import tokenizers
from pipeline.errors import UserError
from pipeline.quantization import storage
from tests.terminal import Terminal
from tests.unit.apps import small_speaker
from tests.workspace import PROJECT, environment

PROBLEMS = [f"{a}+{b}=" for a in range(5) for b in range(5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a calculator that learned the sums up to 4+4 by heart, float and packed, and with a model that is none."""
    folder = tmp_path_factory.mktemp("calculators")
    (folder / "sums.txt").write_text("".join(f"{problem}{eval(problem[:-1])}\n" for problem in PROBLEMS))
    torch.set_num_threads(1)
    config = TrainingConfig(epochs=60, batch_size=4, embedding_dim=32, num_layers=1, num_heads=2, feedforward_dim=64, learning_rate=1e-2)
    CalcGPTTrainer(config, folder / "sums.txt", folder / "models/calculator", verbose=False).train()
    pack(folder / "models/calculator", folder / "quantized/calculator")
    small_speaker.write(folder / "models/speaker")
    return folder


def pack(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    module = models.load(source)
    matrices = quantization.quantize(module.quantizable(), "here")
    others = {name: tensor for name, tensor in module.state_dict().items() if name not in matrices}
    config = {**module.config, "quantization_config": storage.describe(matrices)}
    models.save(storage.tensors_of(matrices, others), config, target / "model.safetensors", target / "config.json")
    tokenizers.load(source).save(target / "tokenizer.json", target / "tokenizer_config.json")


def solve(folder: Path, *arguments: str, given: str = "") -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    env = environment(PYTHONPATH=str(PROJECT), OMP_NUM_THREADS="1")
    command = [sys.executable, "-m", "pipeline", "solve", *arguments]
    done = subprocess.run(command, cwd=folder, env=env, input=given, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def test_on_a_terminal_each_answer_is_marked(folder: Path) -> None:
    solver = Solver(open_model(folder / "quantized/calculator"))
    marked = {result.problem: (result.answer, result.verdict) for result in solver.solve(PROBLEMS)}
    assert {verdict for _, verdict in marked.values()} == {"right", "wrong"}  # the packed model forgot some: both marks are seen
    with Terminal(folder, "solve", "--model", "quantized/calculator", *PROBLEMS) as screen:
        for problem, (answer, verdict) in marked.items():
            line = screen.expect(r"\n")
            remark = f" it is {eval(problem[:-1])}" if verdict == "wrong" else ""
            assert line.split() == f"{verdict} {problem}{answer}{remark}".split()
        right = sum(verdict == "right" for _, verdict in marked.values())
        screen.expect(f"quantized/calculator: {right} of {len(PROBLEMS)} right")
        assert screen.ends() == 0


def test_right_is_what_python_says(folder: Path) -> None:
    solver = Solver(open_model(folder / "models/calculator"))
    results = list(solver.solve(PROBLEMS))
    assert [(r.expected, r.verdict == "right") for r in results] == [
        (str(eval(p[:-1])), r.answer == str(eval(p[:-1]))) for p, r in zip(PROBLEMS, results, strict=True)
    ]
    assert sum(r.verdict == "right" for r in results) > 5


def test_a_pipe_becomes_json_and_what_cannot_be_read_is_refused_by_position(folder: Path) -> None:
    code, out, beside = solve(folder, "--json", "--model", "models/calculator", given="1+2=\n\n 3 + 4\n7x1\n9+1=\n1+1=2\n")
    first, second, *refused = json.loads(out)
    assert (first["problem"], first["expected"], first["correct"]) == ("1+2=", "3", first["answer"] == "3")
    assert (second["problem"], second["expected"]) == ("3 + 4", "7")
    assert [set(entry) for entry in refused] == [{"problem", "error"}] * 3
    assert "character 'x' at position 2" in refused[0]["error"] and "9 at position 1 of '9+1='" in refused[1]["error"]
    assert "already has its answer" in refused[2]["error"]
    assert code == 2 and "right, 3 refused" in beside


def test_a_file_has_results_in_its_order_through_the_packed_model(folder: Path) -> None:
    """The first model of params.yaml that solves: the preset's calculator."""
    (folder / "params.yaml").write_bytes((PROJECT / "presets/smoke.yaml").read_bytes())
    (folder / "problems.txt").write_text("\n".join(PROBLEMS))
    code, out, beside = solve(folder, "--file", "problems.txt")
    assert code == 0 and beside.startswith("quantized/calculator: ")
    assert [line.split()[1].partition("=")[0] + "=" for line in out.splitlines()] == PROBLEMS


def test_more_problems_than_a_batch_are_answered_in_order(folder: Path) -> None:
    solver = Solver(open_model(folder / "quantized/calculator"))
    many = [PROBLEMS[i * 7 % 25] if i % 10 else "?" for i in range(TOGETHER + 30)]
    alone = {result.problem: result for result in solver.solve(PROBLEMS)}
    results = list(solver.solve(many))
    assert [result.problem for result in results] == many
    assert all(result == alone[problem] if problem != "?" else result.error for problem, result in zip(many, results, strict=True))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["1+1=", "--file", "sums.txt"], "problems come from the command line or from --file, not from both"),
        (["--file", "nothing.txt", "--model", "models/calculator"], "nothing.txt cannot be read (No such file or directory)"),
        (["1+1=", "--model", "models/speaker"], "the model of models/speaker continues texts: talk to it by `python -m pipeline console`"),
        (["1+1=", "--model", "nobody"], "nobody is no model directory, and no model of that name is made here: name one of calculator"),
        (["1+1=", "--model", "models/calculator", "--float"], "models/calculator is a directory, which is opened as it is"),
    ],
)
def test_mistakes_are_one_sentence(folder: Path, arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.__main__ import app

    monkeypatch.chdir(folder)
    with pytest.raises(UserError) as error:
        app(["solve", *arguments], standalone_mode=False)
    assert str(error.value).startswith(sentence)


def test_the_console_says_who_solves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.apps.trained import find

    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=r"the model of quantized/calculator solves problems: ask it by `python -m pipeline solve`"):
        find("calculator", "language")
    assert find("calculator", "arithmetic", as_float=True) == Path("models/calculator")
    assert find("models/calculator/config.json", "arithmetic") == Path("models/calculator")
    with pytest.raises(UserError, match=r"sums.txt is not one of a model directory's files"):
        find("sums.txt", "arithmetic")
