"""Growth amid a training: the same outputs before and after, moments that go along, and a resume to the same bytes."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from pipeline import models
from pipeline.errors import UserError
from pipeline.models.base import Model
from pipeline.schema.models import Model as Block
from pipeline.training import growth, optimizers
from pipeline.training.checkpoints import Store
from pipeline.training.loop import Trainer
from pipeline.training.streams import Reader
from tests.unit.models import digits, recurrent, tiny
from tests.unit.models.test_realnet_classifier import classifier
from tests.unit.training import toy

APART = {"num_neurons": 24, "input_neurons": 9, "output_neurons": 12}
OVERLAPPING = {"num_neurons": 20, "input_neurons": 14, "output_neurons": 16}


def more(module: Model, amount: int = 6) -> None:
    adamw = optimizers.build(module, toy.settings())
    growth.grow(module, adamw, Reader(module, 1, False), amount, torch.Generator().manual_seed(3))


@pytest.mark.parametrize("activation", ["tanh", "gelu", "sigmoid"])
@pytest.mark.parametrize("sizes", [APART, OVERLAPPING, {"num_neurons": 20, "input_neurons": None, "output_neurons": None}])
def test_a_language_model_computes_the_same_before_and_after(sizes: dict[str, Any], activation: str) -> None:
    """By the fused run for as long as rounding errors stay small, and step by step in double precision for longer."""
    module, short, long = recurrent.model("realnet", **sizes, activation=activation), recurrent.tokens(3, 2), recurrent.tokens(3, 12)
    twin = copy.deepcopy(module).double()
    twin.synapses.register_forward_pre_hook(lambda *_: None)
    with torch.no_grad():
        expected, in_double = module(short)[0], twin(long)[0]
        more(module)
        more(twin)
        grown, after = module(short)
        assert (grown - expected).abs().max() < 1e-6 * max(1.0, float(expected.abs().max()))
        assert (twin(long)[0] - in_double).abs().max() < 1e-6
        assert module.config["num_neurons"] == sizes["num_neurons"] + 6 == after.neurons.shape[1]
        again = models.build(module.config)
        again.load_state_dict(module.state_dict())
        assert torch.equal(again.eval()(short)[0], grown)


def test_a_classifier_computes_the_same_before_and_after() -> None:
    module, inputs = classifier(), digits.samples(5, ("image",))
    expected, _ = module(inputs)
    more(module)
    assert (module(inputs)[0] - expected).abs().max() < 1e-6 * float(expected.detach().abs().max())


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_moments_go_along_and_new_neurons_learn(optimizer: str) -> None:
    module = recurrent.model("realnet", **APART).train()
    built = optimizers.build(module, toy.settings(optimizer=optimizer))

    def step() -> None:
        module(recurrent.tokens(3, 9))[0].square().mean().backward()
        for each in built:
            each.step()
            each.zero_grad()

    step()
    key = "momentum" if optimizer == "muon" else "exp_avg"
    before = built[-1].state[module.synapses.weight][key].clone()
    reader = Reader(module, 2, True)
    for _ in range(2):
        reader(recurrent.tokens(3, 4))
    carried = reader.states[0].neurons.clone()
    growth.grow(module, built, reader, 5, torch.Generator().manual_seed(3))
    after = built[-1].state[module.synapses.weight][key]
    kept = torch.tensor([*range(12), *range(17, 29)])  # the new ones lie before the 12 that are read
    assert torch.equal(after[..., kept[:, None], kept], before) and float(after.abs().sum()) == pytest.approx(float(before.abs().sum()))
    assert torch.equal(reader.states[0].neurons[:, kept], carried) and not reader.states[1].neurons[:, 12:17].any()
    assert {id(p) for each in built for group in each.param_groups for p in group["params"]} == {id(p) for p in module.parameters()}
    assert not module.synapses.weight[12:17].any()
    for _ in range(2):
        step()
    assert module.synapses.weight[12:17].any()


class Killed(BaseException):
    """The end of a process."""


def trainer(folder: Path, killed_at: int | None = None) -> Trainer:
    growing = [{"step": 4, "neurons": 5}, {"step": 7, "neurons": 3}]
    task = toy.language(growth=growing, carry_state=True, optimizer="muon", evaluate_every=2, checkpoint_every=3)
    module = models.create(recurrent.config("realnet", **OVERLAPPING, dropout=0.1), seed=2)
    training = Trainer(module, task, toy.SEED, Store(folder), toy.Events(), "toy")
    batch = task.batch

    def until(step: int) -> Any:
        if step == killed_at:
            raise Killed
        return batch(step)

    task.batch = until  # type: ignore[method-assign]
    return training


@pytest.mark.parametrize("killed_at", [5, 8, 11])
def test_a_kill_after_growth_resumes_to_the_same_bytes(tmp_path: Path, killed_at: int) -> None:
    whole = trainer(tmp_path / "whole")
    whole.run()
    with pytest.raises(Killed):
        trainer(tmp_path / "parts", killed_at).run()
    resumed = trainer(tmp_path / "parts")
    resumed.run()
    assert resumed.module.config == whole.module.config and whole.module.config["num_neurons"] == 28
    expected = whole.module.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.module.state_dict().items())
    assert resumed.progress == whole.progress and whole.progress.best_step > 7
    assert all(row["validation_loss"] < whole.progress.curve[0]["validation_loss"] for row in whole.progress.curve[-2:])


def block(family: str = "realnet", quantization: dict[str, Any] | None = None, **training: Any) -> Block:
    rest = {"dataset": "text", "architecture": {}, "formats": [], "evaluation": {}}
    return Block.model_validate({"family": family, "training": training, "quantization": quantization or {}, **rest})


def test_what_cannot_grow_is_a_sentence_and_nothing_said_changes_no_key() -> None:
    two = [{"step": 9, "neurons": 1}, {"step": 4, "neurons": 1}]
    with pytest.raises(ValidationError, match=r"growth: its steps \[9, 4\] must rise"):
        block(growth=two)
    with pytest.raises(ValidationError, match=r"growth: step 9 must be below steps \(9\)"):
        block(steps=9, warmup_steps=1, growth=two[:1])
    with pytest.raises(ValidationError, match="a gru model does not grow: leave it out"):
        block("gru", growth=two[:1])
    with pytest.raises(ValidationError, match=r"quantization\.training\.growth: a model grows while it is trained in float"):
        block(quantization={"method": "qat", "training": {"growth": two[:1]}})
    with pytest.raises(UserError, match="step 9 is not below the 5 steps of the training"):
        toy.language(epochs=1, batch_size=7, growth=two[:1])
    assert "growth" not in block().model_dump()["training"]
    assert tiny.CONTEXT == recurrent.CONTEXT
