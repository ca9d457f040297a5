"""Consolidation: what is kept, what is recalled, a resume that leaves no trace, and less forgetting."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from pipeline import config
from pipeline.schema.training import Consolidation, Training
from pipeline.training import state
from pipeline.training.checkpoints import Store
from pipeline.training.episodes import Episodes
from pipeline.training.loop import Trainer
from pipeline.training.tasks import UNSCORED, Batch
from tests.unit.models.brains import VOCABULARY, brain
from tests.unit.training import toy

REPLAY = {"every": 2, "tokens": 48, "episodes": 6}


def interrupted(trainer: Trainer, when: int) -> None:
    """Run until a stop in the middle of step `when`."""
    step = trainer._step

    def stop() -> torch.Tensor:
        total = step()
        if trainer.progress.step == when:
            held = (trainer.module, trainer.optimizers, trainer.progress, trainer.best, trainer.loss, trainer._carriers())
            trainer.store.save(when, *state.capture(*held))
            raise KeyboardInterrupt
        return total

    trainer._step = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.run()


@pytest.mark.parametrize("when", [1, 4, 7])
def test_a_stopped_training_replays_what_an_undisturbed_one_does(when: int, tmp_path: Path) -> None:
    task = toy.language(consolidation=REPLAY, accumulation=2)
    whole = toy.trainer(task, tmp_path / "one")
    whole.run()
    interrupted(toy.trainer(task, tmp_path / "two"), when)
    resumed = toy.trainer(task, tmp_path / "two")
    resumed.run()
    assert all(torch.equal(a, b) for a, b in zip(whole.module.parameters(), resumed.module.parameters(), strict=True))
    assert whole.results() == resumed.results() and whole.results()["replayed_tokens"] == 6 * 48
    without = toy.trainer(toy.language(accumulation=2), tmp_path / "three")
    without.run()
    assert "replayed_tokens" not in without.results()
    assert not all(torch.equal(a, b) for a, b in zip(whole.module.parameters(), without.module.parameters(), strict=True))


def test_a_resume_without_the_episodes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = toy.language(consolidation=REPLAY)
    whole = toy.trainer(task, tmp_path / "one")
    whole.run()
    interrupted(toy.trainer(task, tmp_path / "two"), 7)
    monkeypatch.setattr(Episodes, "restore", lambda self, tensors: None)
    resumed = toy.trainer(task, tmp_path / "two")
    resumed.run()
    assert not all(torch.equal(a, b) for a, b in zip(whole.module.parameters(), resumed.module.parameters(), strict=True))


def test_what_surprises_is_kept_and_memory_does_not_grow() -> None:
    """Half of 4,000 sequences cost ten times the nats of the others: their share of what is kept is near ten elevenths."""
    episodes = Episodes(Consolidation(episodes=200), 3)
    logits = torch.zeros(40, 1, 2)
    logits[:, :, 1] = torch.where(torch.arange(40) % 2 == 0, 3.0, -0.974)[:, None]
    targets = torch.zeros(40, 1, dtype=torch.int64)
    losses = F.cross_entropy(logits[:2, 0], targets[:2, 0], reduction="none")
    assert losses[0] / losses[1] == pytest.approx(9.5, abs=0.5)
    for batch in range(100):
        episodes.see(torch.arange(40)[:, None] + 40 * batch, logits, targets)
    kept = episodes.kept.inputs[:, 0]
    assert len(kept) == 200 == len(kept.unique())
    assert (kept % 2 == 0).double().mean() == pytest.approx(0.905, abs=0.06)
    assert (kept < 2000).double().mean() == pytest.approx(0.5, abs=0.12)


def test_what_is_recalled_is_different_and_has_its_targets() -> None:
    episodes = Episodes(Consolidation(every=3, tokens=20, episodes=8), 0)
    assert episodes.recalled(3) is None
    inputs = torch.arange(40).view(8, 5)
    targets = (inputs + 1).index_fill(1, torch.tensor([0]), UNSCORED)
    episodes.see(inputs, torch.randn(8, 5, 50, generator=torch.Generator().manual_seed(0)), targets)
    assert episodes.recalled(2) is None
    again = episodes.recalled(3)
    assert again.inputs.shape == (4, 5) and len(again.inputs[:, 0].unique()) == 4
    assert torch.equal(again.targets[:, 1:], again.inputs[:, 1:] + 1) and (again.targets[:, 0] == UNSCORED).all()
    assert not torch.equal(again.inputs, episodes.recalled(6).inputs) and torch.equal(again.inputs, episodes.recalled(3).inputs)


class TwoDomains:
    """First a language in which each token is the one before it and 1, then one in which it is that and 4."""

    def __init__(self, settings: Training, changes_at: int) -> None:
        self.settings, self.changes_at, self.tokens_per_step = settings, changes_at, 16 * 12

    def reader(self, module):
        return lambda tokens: module(tokens)[0]

    def batch(self, step: int) -> Batch:
        return self.of(1 if step < self.changes_at else 4, step)

    def of(self, stride: int, seed: int) -> Batch:
        first = torch.randint(VOCABULARY, (16, 1), generator=torch.Generator().manual_seed(seed))
        rows = (first + stride * torch.arange(13)) % VOCABULARY
        return Batch(rows[:, :-1], rows[:, 1:])

    def loss(self, inputs, logits, targets):
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")


@torch.no_grad()
def nats(module, batch: Batch) -> float:
    logits, _ = module.eval()(batch.inputs)
    return F.cross_entropy(logits[:, 2:].flatten(0, 1), batch.targets[:, 2:].flatten()).item()


def test_a_brain_that_consolidates_forgets_less(tmp_path: Path) -> None:
    first, second = {}, {}
    for every in (0, 2):
        replay = {"consolidation": Consolidation(every=every, tokens=192, episodes=64)} if every else {}
        settings = Training(steps=60, warmup_steps=2, learning_rate=0.02, schedule="constant", **replay)
        task = TwoDomains(settings, 30)
        trainer = Trainer(brain(), task, 1, Store(tmp_path), toy.Events(), "test")  # type: ignore[arg-type]
        for _ in range(60):
            trainer._step()
        first[every], second[every] = (nats(trainer.module, task.of(stride, 1000)) for stride in (1, 4))
    assert first[2] < 0.6 * first[0] and second[2] < second[0] + 0.5


def test_it_is_off_by_default_and_leaves_no_mark() -> None:
    assert Training().consolidation is None and "consolidation" not in Training().model_dump(mode="json")
    assert "consolidation" in config.json_schema()["$defs"]["Training"]["properties"]
