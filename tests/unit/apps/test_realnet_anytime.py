"""Thinking for as long as it takes: halting, and accuracy against steps."""

import pytest
import torch
from torch import nn

from pipeline.apps.realnet import RealNet, RealNetTrainer, accuracy_by_steps, plot_accuracy, think


@pytest.fixture(scope="module", params=[True, False], ids=["pulse", "continuous"])
def sorter(request) -> tuple[RealNetTrainer, torch.Tensor, torch.Tensor]:
    """A network that tells which of three regions a point lies in, trained to answer after any number of steps, and unseen points."""
    torch.manual_seed(4)
    x = torch.randn(400, 2)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0.3).long()
    model = RealNet(12, range(2), range(9, 12), pulse_mode=request.param)
    trainer = RealNetTrainer(model, loss_fn=nn.CrossEntropyLoss())
    for _ in range(150):
        rows, steps = torch.randint(300, (64,)), int(torch.randint(3, 10, ()))
        answers = y[rows].repeat_interleave(steps - 2)
        trainer.train_batch(x[rows], answers, steps, full_sequence=True, output_transform=lambda out: out[:, 2:].flatten(0, 1))
    return trainer, x[300:], y[300:]


def test_halting_saves_steps_and_keeps_the_accuracy(sorter):
    trainer, x, y = sorter
    full = (trainer.predict(x, 12).argmax(1) == y).float().mean()
    answers, taken = think(trainer.model, x, 12, confidence=0.8, least_steps=3)
    assert full > 0.8
    assert taken.float().mean() < 9 and taken.min() >= 3 and taken.max() <= 12 and len(taken.unique()) > 1
    assert (answers.argmax(1) == y).float().mean() > full - 0.05
    assert torch.equal(trainer.predict(x, 12, confidence=0.8), think(trainer.model, x, 12, 0.8)[0])


def test_a_row_answers_what_it_would_after_its_own_steps(sorter):
    trainer, x, _ = sorter
    answers, taken = think(trainer.model, x, 12, confidence=0.8)
    for steps in taken.unique().tolist():
        rows = taken == steps
        assert torch.allclose(answers[rows], trainer.predict(x[rows], steps), atol=1e-4)
        sure = answers[rows].softmax(-1).amax(-1) >= 0.8
        assert sure.all() or steps == 12


def test_accuracy_by_steps_is_that_of_as_many_predictions(sorter, tmp_path):
    trainer, x, y = sorter
    curve = accuracy_by_steps(trainer.model, x, y, 9)
    assert curve == pytest.approx([float((trainer.predict(x, steps).argmax(1) == y).float().mean()) for steps in range(1, 10)])
    for _ in range(2):
        plot_accuracy({"RealNet": [curve, curve[::-1]]}, tmp_path / "anytime.svg", (3, 9))
        plot_accuracy({"RealNet": [curve, curve[::-1]]}, tmp_path / "again.svg", (3, 9))
    picture = (tmp_path / "anytime.svg").read_bytes()
    assert b"steps in training" in picture and picture == (tmp_path / "again.svg").read_bytes()


MISTAKES = {
    "a sequence": (lambda t: think(t.model, torch.ones(2, 3, 2), 9, 0.9), "must be one frame [batch, features] a row"),
    "no confidence": (lambda t: think(t.model, torch.ones(2, 2), 9, 0.0), "confidence must be above 0 and at most 1, not 0.0"),
    "too many at least": (lambda t: think(t.model, torch.ones(2, 2), 9, 0.9, 10), "least_steps = 10 must be from 1 to most_steps = 9"),
    "all steps and halting": (lambda t: t.predict(torch.ones(2, 2), 9, True, confidence=0.9), "give full_sequence=False"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_cannot_be_thought_about(name: str):
    action, said = MISTAKES[name]
    with pytest.raises(ValueError) as caught:
        action(RealNetTrainer(RealNet(5, [0, 1], [4])))
    assert said in str(caught.value)
