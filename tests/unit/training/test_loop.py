"""The loop: gradients, best weights, early stop, curves, and a resume that leaves no trace."""

import os
import signal
from pathlib import Path

import pytest
import torch

from pipeline import models, rng
from pipeline.errors import UserError
from pipeline.training import state
from pipeline.training.checkpoints import Store
from pipeline.training.loop import Trainer
from tests.unit.models import tiny
from tests.unit.training import toy


def same(one: Trainer, other: Trainer) -> bool:
    pairs = zip(one.module.state_dict().values(), other.module.state_dict().values(), strict=True)
    curves = [[list(row.items()) for row in trainer.progress.curve] for trainer in (one, other)]
    return curves[0] == curves[1] and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("make", [toy.language, toy.arithmetic])
def test_accumulated_micro_batches_give_the_gradient_of_the_large_batch(make: type, tmp_path: Path) -> None:
    large = toy.trainer(make(batch_size=8, gradient_clip=0.0), tmp_path)
    small = toy.trainer(make(batch_size=2, accumulation=4, gradient_clip=0.0), tmp_path)
    for trainer in (large, small):
        trainer.module.double()
        trainer.optimizers = [torch.optim.SGD(trainer.module.parameters(), lr=0.1)]
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = 0.1
        trainer._step()
    for a, b in zip(large.module.parameters(), small.module.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=0)


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_gradients_are_clipped_to_their_joint_norm(clip: float, tmp_path: Path) -> None:
    trainer = toy.trainer(toy.language(gradient_clip=clip), tmp_path)
    norms = []

    class Probe(torch.optim.SGD):
        def step(self, closure: None = None) -> None:
            norms.append(torch.cat([p.grad.flatten() for p in trainer.module.parameters()]).norm().item())

    trainer.optimizers = [Probe(trainer.module.parameters(), lr=0.1)]
    trainer._step()
    assert norms[0] == pytest.approx(0.01, rel=1e-3) if clip else norms[0] > 0.05


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_model_learns(optimizer: str, precision: str, tmp_path: Path) -> None:
    trainer = toy.trainer(toy.language(steps=60, optimizer=optimizer, learning_rate=0.02, precision=precision), tmp_path)
    trainer.run()
    assert trainer.results()["test"]["loss"] < 0.3 < trainer.progress.curve[0]["validation_loss"]


def test_the_curve_has_steps_tokens_losses_and_rate(tmp_path: Path) -> None:
    trainer = toy.trainer(toy.language(schedule="constant", learning_rate=0.01), tmp_path)
    trainer.run()
    assert [row["step"] for row in trainer.progress.curve] == [4, 8, 12]
    assert [row["tokens"] for row in trainer.progress.curve] == [4 * 48, 8 * 48, 12 * 48]
    assert list(trainer.progress.curve[0]) == ["step", "tokens", "train_loss", "validation_loss", "learning_rate"]
    assert trainer.progress.curve[2]["learning_rate"] == 0.01
    logged = [step for step, values in trainer.events.curve if "train/loss" in values]
    assert logged == [10]


def test_the_loss_of_the_curve_is_the_mean_since_the_row_before(tmp_path: Path) -> None:
    trainer = toy.trainer(toy.language(), tmp_path)
    losses: list[float] = []
    step = trainer._step
    trainer._step = lambda: losses.append(step()) or losses[-1]  # type: ignore[method-assign]
    trainer.run()
    assert [row["train_loss"] for row in trainer.progress.curve] == pytest.approx([float(sum(losses[i : i + 4])) / 4 for i in (0, 4, 8)])


def test_what_a_family_tells_of_itself_is_logged_beside_the_loss(tmp_path: Path) -> None:
    trainer = toy.trainer(toy.language(), tmp_path)
    trainer.module.statistics = lambda: {"awake": trainer.progress.step / 4}  # type: ignore[method-assign]
    trainer.prefix = "later/"
    trainer.run()
    told = {step: values for step, values in trainer.events.curve if "later/statistics/awake" in values}
    assert list(told) == [10] and told[10]["later/statistics/awake"] == 2.5 and "later/train/loss" in told[10]


def test_results_are_of_the_best_weights_on_whole_splits(tmp_path: Path) -> None:
    """A rate that ruins the model at the end: what is published is what was best before."""
    trainer = toy.trainer(toy.language(steps=40, learning_rate=0.02, schedule="constant"), tmp_path)
    ruin = trainer._step

    def step() -> torch.Tensor:
        loss = ruin()
        if trainer.progress.step > 30:
            with torch.no_grad():
                trainer.module.model.norm.weight.fill_(-3.0)
        return loss

    trainer._step = step  # type: ignore[method-assign]
    trainer.run()
    results = trainer.results()
    assert results["best_step"] <= 30 < results["steps"]
    assert results["validation"]["loss"] == min(row["validation_loss"] for row in trainer.progress.curve)
    assert results["parameters"] == sum(p.numel() for p in trainer.module.parameters())
    assert results["tokens"] == 40 * 48
    assert set(results) == {"train", "validation", "test", "parameters", "steps", "best_step", "tokens"}


def test_patience_ends_a_training_that_gets_no_better(tmp_path: Path) -> None:
    trainer = toy.trainer(
        toy.language(steps=1000, patience=2, evaluate_every=2, learning_rate=1.0, optimizer="adamw", warmup_steps=0), tmp_path
    )
    trainer.run()
    assert trainer.progress.step == trainer.progress.best_step + 4 < 1000


def test_samples_come_at_their_intervals(tmp_path: Path) -> None:
    trainer = toy.trainer(toy.language(sample_every=6, sample_tokens=3), tmp_path)
    trainer.run()
    assert list(trainer.events.texts) == ["samples/00000006.txt", "samples/00000012.txt"]


def test_a_loss_that_is_not_finite_ends_with_a_sentence(tmp_path: Path) -> None:
    trainer = toy.trainer(toy.language(), tmp_path)
    with torch.no_grad():
        trainer.module.model.norm.weight.fill_(float("nan"))
    with pytest.raises(UserError, match=r"test: the loss is nan after 4 steps: lower its learning rates"):
        trainer.run()


def interrupt_at(trainer: Trainer, when: int) -> None:
    """Run until a SIGINT that arrives in the middle of step `when`."""
    step = trainer._step

    def interrupted() -> torch.Tensor:
        if trainer.progress.step == when - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step()

    trainer._step = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert trainer.progress.step == when


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("when", [3, 4, 9, 12])
def test_an_interrupted_training_ends_as_an_undisturbed_one(optimizer: str, when: int, tmp_path: Path) -> None:
    task = toy.language(optimizer=optimizer)
    undisturbed = toy.trainer(task, tmp_path / "one", dropout=0.2)
    undisturbed.run()
    interrupt_at(toy.trainer(task, tmp_path / "two", dropout=0.2), when)
    torch.rand(5)
    resumed = toy.trainer(task, tmp_path / "two", dropout=0.2)
    resumed.run()
    assert same(undisturbed, resumed)
    assert resumed.results() == undisturbed.results()


def test_a_resume_without_the_random_state_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dropout the weights differ as soon as the random stream starts anew: so the test above does test the stream."""
    undisturbed = toy.trainer(toy.language(), tmp_path / "one", dropout=0.2)
    undisturbed.run()
    interrupt_at(toy.trainer(toy.language(), tmp_path / "two", dropout=0.2), 7)
    monkeypatch.setattr(rng, "restore", lambda saved: None)
    resumed = toy.trainer(toy.language(), tmp_path / "two", dropout=0.2)
    resumed.run()
    assert resumed.progress.step == 12
    assert not same(undisturbed, resumed)


@pytest.mark.parametrize("group", ["weights", "best", "optimizer"])
def test_a_resume_without_a_part_of_the_state_is_noticed(group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = toy.language(learning_rate=0.02, schedule="constant")
    undisturbed = toy.trainer(task, tmp_path / "one")
    undisturbed.run()
    interrupt_at(toy.trainer(task, tmp_path / "two"), 9)
    load = Store.load

    def damaged(store: Store) -> object:
        checkpoint = load(store)
        assert checkpoint is not None
        checkpoint.tensors = {n: torch.zeros_like(t) if n.startswith(f"{group}/") else t for n, t in checkpoint.tensors.items()}
        checkpoint.record["best_score"] = [-1.0] if group == "best" else checkpoint.record["best_score"]
        return checkpoint

    monkeypatch.setattr(Store, "load", damaged)
    resumed = toy.trainer(task, tmp_path / "two")
    resumed.run()
    assert not same(undisturbed, resumed)


def test_a_finished_training_that_was_not_published_does_no_step_again(tmp_path: Path) -> None:
    first, second = (toy.trainer(toy.language(), tmp_path) for _ in range(2))
    first.run()
    second._step = lambda: pytest.fail("a step was done again")  # type: ignore[method-assign]
    second.run()
    assert same(first, second)


def test_the_old_signal_handlers_come_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    toy.trainer(toy.language(steps=3), tmp_path).run()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_state_holds_every_tensor_of_the_optimizers(tmp_path: Path) -> None:
    trainer = toy.trainer(toy.language(optimizer="muon"), tmp_path)
    trainer.run()
    tensors, record = state.capture(trainer.module, trainer.optimizers, trainer.progress, trainer.best, trainer.loss, {})
    adamw = sum(len(group["params"]) for group in trainer.optimizers[0].param_groups)
    assert sum(name.startswith("optimizer/0.") for name in tensors) == 3 * adamw
    assert sum(name.startswith("optimizer/1.") for name in tensors) == 2  # one momentum a shape: 16 x 16 and 16 x 24
    assert record["step"] == 12


def test_a_model_trains_without_its_first_weights_mattering_to_the_stream(tmp_path: Path) -> None:
    """The random stream of training is its own: drawing numbers before it changes nothing."""
    first = toy.trainer(toy.language(), tmp_path / "a", dropout=0.3)
    first.run()
    models.create(tiny.config(), 99)
    torch.rand(7)
    second = toy.trainer(toy.language(), tmp_path / "b", dropout=0.3)
    second.run()
    assert same(first, second)
