"""Streams: windows that follow each other, and a state that is carried from step to step, also through a checkpoint."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import models
from pipeline.config import load, parse
from pipeline.data import sampler, tokenizers
from pipeline.errors import UserError
from pipeline.models.base import Model
from pipeline.training.checkpoints import Store
from pipeline.training.loop import Trainer
from pipeline.training.streams import Reader
from pipeline.training.tasks import Language
from tests.unit.models import recurrent
from tests.unit.training import toy
from tests.unit.training.test_loop import interrupt_at, same
from tests.workspace import PROJECT

TOKENS = np.arange(1000, dtype=np.uint16)


@pytest.mark.parametrize("seed", [0, 5, 2**62])
def test_each_window_goes_on_where_the_one_before_ended_and_nothing_is_left_out(seed: int) -> None:
    steps = [sampler.stream_batch(TOKENS, seed, step, 5, 8) for step in range(25)]
    for earlier, later in itertools.pairwise(steps):
        assert later[:, 0].tolist() == earlier[:, -1].tolist()
    assert sorted(torch.cat([step[:, 1:] for step in steps]).flatten().tolist()) == list(range(1000))
    assert torch.equal(steps[7], sampler.stream_batch(TOKENS, seed, 7, 5, 8))


def test_a_text_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="8 tokens are too few for windows of 9"):
        sampler.stream_batch(TOKENS[:8], 1, 0, 2, 8)


def task(**changes: Any) -> Language:
    tokens = np.random.default_rng(3).integers(0, recurrent.VOCABULARY - 1, 700).astype(np.uint16)
    splits = {"train": tokens, "validation": tokens[:70], "test": tokens[:50]}
    settings = toy.settings(**{"carry_state": True, "learning_rate": 0.02, **changes})
    return Language(splits, settings, toy.SEED, recurrent.CONTEXT, tokenizers.characters(toy.ALPHABET), True)


def trainer(folder: Path, family: str, teacher: bool = False, **changes: Any) -> Trainer:
    work = task(**changes)
    if teacher:
        work.learn_from(recurrent.model(family), 0.5)
    return Trainer(models.create(recurrent.config(family), toy.SEED), work, toy.SEED, Store(folder), toy.Events(), "test")


def test_a_step_begins_with_the_state_in_which_the_one_before_ended() -> None:
    module, work = recurrent.model("gru"), task(accumulation=2)
    reader, state = work.reader(module), [None, None]
    for step in range(3):
        for part, tokens in enumerate(work.batch(step).inputs.split(4)):
            expected, state[part] = module(tokens, state[part])
            assert torch.equal(reader(tokens), expected)
    assert all(not tensor.requires_grad for tensor in reader.capture().values())


def test_without_carrying_each_window_begins_in_silence() -> None:
    module, work = recurrent.model("realnet"), task(carry_state=False)
    reader, tokens = work.reader(module), recurrent.tokens(4, 12)
    assert torch.equal(reader(tokens), reader(tokens))
    assert reader.capture() == {}


@pytest.mark.parametrize("family", recurrent.SIZES)
@pytest.mark.parametrize("when", [3, 9])
def test_an_interrupted_training_carries_on_as_an_undisturbed_one(family: str, when: int, tmp_path: Path) -> None:
    options: dict[str, Any] = {"teacher": True, "accumulation": 2, "steps": 10}
    undisturbed = trainer(tmp_path / "one", family, **options)
    undisturbed.run()
    interrupt_at(trainer(tmp_path / "two", family, **options), when)
    resumed = trainer(tmp_path / "two", family, **options)
    resumed.run()
    assert same(undisturbed, resumed)
    files = [sorted(path.name for path in (tmp_path / folder).iterdir())[-1] for folder in ("one", "two")]
    assert files[0] == files[1], "a checkpoint's name holds the hash of its bytes"


@pytest.mark.parametrize("who", ["pupil", "teacher"])
def test_a_resume_without_the_carried_state_is_noticed(who: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = trainer(tmp_path / "one", "gru", teacher=True)
    undisturbed.run()
    interrupt_at(trainer(tmp_path / "two", "gru", teacher=True), 7)
    restore, calls = Reader.restore, iter(("pupil", "teacher"))
    monkeypatch.setattr(Reader, "restore", lambda self, tensors: restore(self, {} if next(calls) == who else tensors))
    resumed = trainer(tmp_path / "two", "gru", teacher=True)
    resumed.run()
    assert not same(undisturbed, resumed)


def test_evaluation_reads_every_token_once_with_its_state() -> None:
    """70 tokens in six windows of 12, of which the last is shorter: a model that has seen the whole text does not begin anew at each."""
    work, module = task(), recurrent.model("realnet")
    batches = list(work.whole("validation"))
    assert sorted(t for batch in batches for t in batch.targets.flatten().tolist()) == sorted(work.splits["validation"][1:].tolist())
    long = Language(
        {**work.splits, "validation": np.tile(work.splits["train"], 3)}, work.settings, 1, recurrent.CONTEXT, work.tokenizer, True
    )
    (full, rest) = long.whole("validation")
    assert full.inputs.shape == (58, 36) and rest.inputs.shape == (1, 2099 - 58 * 36)
    total = sum(torch.nn.functional.cross_entropy(module(b.inputs)[0].mT, b.targets, reduction="sum") for b in (full, rest))
    assert long.evaluate(module, "validation")["loss"] == pytest.approx(total.item() / 2099, rel=1e-5)


class Costly(Model):
    """A model that wants its only weight to be small."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(recurrent.VOCABULARY))
        self.context = recurrent.CONTEXT

    def forward(self, tokens: torch.Tensor, state: None = None) -> tuple[torch.Tensor, None]:
        if self.training:
            self.penalty = 3.0 * self.weight.square().sum() / 2
        return torch.zeros(*tokens.shape, recurrent.VOCABULARY), None


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_penalty_is_added_to_the_loss_whatever_the_accumulation(accumulation: int, tmp_path: Path) -> None:
    module = Costly()
    work = task(accumulation=accumulation, carry_state=False, gradient_clip=0.0)
    found: list[torch.Tensor] = []
    module.weight.register_hook(lambda gradient: found.append(gradient.clone()))
    loss = Trainer(module, work, 1, Store(tmp_path), toy.Events(), "test")._step()
    assert torch.allclose(sum(found, torch.zeros(())), torch.full((recurrent.VOCABULARY,), 3.0))
    assert loss.item() == pytest.approx(np.log(recurrent.VOCABULARY) + 1.5 * recurrent.VOCABULARY, rel=1e-5)
    assert module.penalty is None


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("calculator", {}, "training.carry_state needs a recurrent state, and a transformer model has none: leave it out"),
        (
            "calculator",
            {"family": "gru", "architecture": {}, "formats": []},
            "models.calculator: carry_state needs one long text, and the data set 'arithmetic' has none: leave it out",
        ),
    ],
)
def test_what_cannot_be_carried_is_one_sentence(name: str, changes: dict[str, Any], sentence: str) -> None:
    data = load(PROJECT / "presets/smoke.yaml").model_dump(mode="json")
    data["models"][name] |= changes
    data["models"][name]["training"]["carry_state"] = True
    with pytest.raises(UserError, match=sentence):
        parse(data, "params.yaml")
