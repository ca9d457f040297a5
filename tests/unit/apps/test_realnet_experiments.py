"""The command of RealNet's experiments: equal sizes, files that are kept, a table of all."""

import csv
import dataclasses

import pytest
import torch
from typer.testing import CliRunner

from pipeline.apps import experiments as command
from pipeline.apps.realnet import contestants, digits, experiments, sequences, transfer
from pipeline.errors import UserError


@pytest.fixture
def short(monkeypatch, tmp_path) -> None:
    """Trainings of a few updates, in a folder of their own, without MLflow."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUINTET_TRACKING", "off")
    for name, task in sequences.TASKS.items():
        monkeypatch.setitem(sequences.TASKS, name, dataclasses.replace(task, updates=3))
    monkeypatch.setattr(digits, "EPOCHS", 1)
    monkeypatch.setattr(transfer, "LESSONS", 2)
    monkeypatch.setattr(transfer, "MOST", 5)


@pytest.mark.parametrize("name", sequences.TASKS)
def test_baselines_have_no_more_parameters_and_nearly_as_many(name: str):
    task = sequences.TASKS[name]
    sizes = {net: contestants.size(make()) for net, make in contestants.contestants(task).items()}
    budget = sizes["RealNet"]
    assert all(size <= budget for size in sizes.values())
    assert all(sizes[net] > 0.5 * budget for net in sizes.keys() - {"linear"})
    x, y, _ = task.draw(torch.Generator().manual_seed(1), 8)
    assert all(make()(x).shape == y.shape for make in contestants.contestants(task).values())


@pytest.mark.parametrize("name", sequences.TASKS)
def test_a_perfect_answer_is_judged_perfect(name: str):
    """Targets as answers give the goal; silence does not."""
    task = sequences.TASKS[name]
    x, y, weight = task.draw(torch.Generator().manual_seed(1), 64)
    assert x.shape == (64, x.shape[1], task.inputs) and y.shape == weight.shape == (64, x.shape[1], task.outputs)
    answers = {
        "xor": lambda x: (x[:, :1].sum(-1, keepdim=True) == 1).float().expand(-1, 5, -1),
        "latch": lambda x: (x.cumsum(1) - x > 0).float(),
        "sine": lambda x: torch.sin((0.2 + 0.4 * x[:, :1]) * torch.arange(1, 31)[:, None]),
        "adder": lambda x: x.cumsum(1),
        "stopwatch": lambda x: torch.exp(-((torch.arange(30)[:, None] - 30 * x[:, :1]) ** 2) / 2),
    }
    first = [next(iter(task.judge(net, torch.Generator().manual_seed(2)).values())) for net in (answers[name], torch.zeros_like)]
    assert first[0] == pytest.approx(0.0 if name in ("sine", "adder", "stopwatch") else 1.0, abs=1e-6)
    assert abs(first[1] - first[0]) > 0.05 or name == "xor"


def test_a_latch_that_switches_itself_on_is_noticed():
    alone = sequences.TASKS["latch"].judge(lambda x: (torch.arange(x.shape[1]) > 14).float()[None, :, None].expand_as(x), torch.Generator())
    assert alone["right"] == alone["no trigger"] < 0.02


def test_all_experiments_give_one_table_and_what_is_done_is_kept(short, tmp_path, monkeypatch):
    folder = tmp_path / "results"
    rows = experiments.run(list(command.REALNET), 1, folder)
    assert {row["task"] for row in rows} == set(command.REALNET) == set(experiments.experiments())
    assert {row["net"] for row in rows if row["task"] == "xor"} == {"RealNet", "GRU", "RNN", "MLP", "linear"}
    assert len((folder / "results.md").read_text().splitlines()) == len(rows) + 2
    overview = (folder / "overview.md").read_text().splitlines()
    assert overview[0].startswith("| task | figure | RealNet | GRU | RNN | MLP | linear |") and len(overview) == len(command.REALNET) + 2
    with (folder / "results.csv").open() as file:
        assert next(csv.DictReader(file))["task"] == "xor"
    pictures = {name: (folder / name).read_bytes() for name in ("figures.svg", "anytime.svg")}

    def never(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(contestants, "compete", never)
    monkeypatch.setattr(digits, "realnet", never)
    assert experiments.run(list(command.REALNET), 1, folder) == rows
    assert pictures == {name: (folder / name).read_bytes() for name in pictures}


def test_ctrl_c_keeps_what_is_finished(short, tmp_path, monkeypatch):
    calls, compete = [], contestants.compete

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return compete(*arguments)

    monkeypatch.setattr(contestants, "compete", interrupted)
    result = CliRunner().invoke(command.app, ["realnet", "--only", "xor", "--seeds", "2", "--folder", "kept"])
    assert result.exit_code == 130 and len(list((tmp_path / "kept").rglob("*.json"))) == 2
    result = CliRunner().invoke(command.app, ["realnet", "--only", "xor", "--seeds", "2", "--folder", "kept"])
    assert result.exit_code == 0 and len(calls) == 3 + 8 and "RealNet" in result.output


def test_an_unknown_experiment_is_a_sentence(short):
    result = CliRunner().invoke(command.app, ["realnet", "--only", "nand"])
    assert isinstance(result.exception, UserError)
    assert str(result.exception) == "--only nand is no experiment: choose from xor, latch, sine, adder, stopwatch, digits, transfer"
