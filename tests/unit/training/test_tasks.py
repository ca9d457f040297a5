"""Tasks: which positions a loss is taken on, and figures that are what a plain reckoning gives."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from pipeline import models
from pipeline.errors import UserError
from pipeline.training.tasks import UNSCORED, loss_sum
from tests.unit.models import tiny
from tests.unit.training import toy


def test_a_language_batch_predicts_each_next_token() -> None:
    batch = toy.language().batch(3)
    assert batch.inputs.shape == batch.targets.shape == (4, tiny.CONTEXT)
    assert torch.equal(batch.targets, (batch.inputs + 1) % 16)


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    one, again, next_one = toy.language().batch(3), toy.language().batch(3), toy.language().batch(4)
    assert torch.equal(one.inputs, again.inputs)
    assert not torch.equal(one.inputs, next_one.inputs)


def test_the_loss_of_arithmetic_is_on_the_answer_and_its_end() -> None:
    """`1+2=30<end>`: prompt of four tokens, so the third input predicts "=", the fourth the answer's first digit."""
    row = toy.CODEC.encode_equation("1+2=3")
    batch = toy.arithmetic()._split(torch.tensor([row]).numpy())
    assert batch.inputs[0].tolist() == row[:-1]
    assert batch.targets[0].tolist() == [UNSCORED] * 3 + row[4:]
    assert row[-1] == toy.CODEC.eos


def test_the_loss_can_be_on_everything() -> None:
    row = toy.CODEC.encode_equation("1+2=3")
    assert toy.arithmetic(loss_on="all")._split(torch.tensor([row]).numpy()).targets[0].tolist() == row[1:]


@pytest.mark.parametrize("limit", [None, 30])
def test_windows_cover_a_split_once(limit: int | None) -> None:
    task = toy.language()
    pairs = [
        (i, t) for batch in task.whole("validation", limit) for i, t in zip(batch.inputs.flatten(), batch.targets.flatten(), strict=True)
    ]
    tokens = task.splits["validation"][: None if limit is None else limit + 1].tolist()
    assert [(int(i), int(t)) for i, t in pairs] == list(itertools.pairwise(tokens))


def test_the_loss_of_a_split_is_the_mean_over_its_windows_positions() -> None:
    task, module = toy.language(), tiny.model()
    tokens = torch.tensor(task.splits["validation"].astype(int))
    total = 0.0
    for start in range(0, len(tokens) - 1, tiny.CONTEXT):
        part = tokens[start : start + tiny.CONTEXT + 1]
        total += F.cross_entropy(module(part[None, :-1])[0][0], part[1:], reduction="sum").item()
    assert task.evaluate(module, "validation") == {"loss": pytest.approx(total / (len(tokens) - 1), rel=1e-6)}


def test_exact_match_is_what_greedy_decoding_gets_right() -> None:
    from pipeline.models.generation import generate

    task = toy.arithmetic()
    trainer_like = tiny.model()
    rows = task.splits["test"].tolist()
    start = toy.CODEC.prompt_length
    answers = generate(trainer_like, [row[:start] for row in rows], toy.CODEC.answer_width + 1, eos=toy.CODEC.eos)
    right = sum(answer == row[start:] for answer, row in zip(answers, rows, strict=True))
    assert task.evaluate(trainer_like, "test")["exact_match"] == right / len(rows)


@pytest.mark.parametrize("loss_on", ["answer", "all"])
def test_exact_match_judges_answers_wherever_the_loss_is(loss_on: str) -> None:
    """Operands cannot be foreseen, so a model that knows its sums is exact although no prompt is predicted."""

    class Oracle(models.base.Model):
        device = torch.device("cpu")

        def forward(self, tokens: torch.Tensor, state: None = None) -> tuple[torch.Tensor, None]:
            logits = torch.zeros(*tokens.shape, toy.CODEC.vocab_size)
            for logit, row in zip(logits, tokens.tolist(), strict=True):
                a, b = (int(toy.CODEC.vocabulary[row[i]]) for i in (0, 2))
                full = toy.CODEC.encode_equation(f"{a}+{b}={a + b}")
                logit[range(3, len(row)), full[4:]] = 50.0
            return logits, None

    figures = toy.arithmetic(loss_on=loss_on).evaluate(Oracle(), "test")
    assert figures["exact_match"] == 1.0
    assert figures["loss"] == pytest.approx(0.0 if loss_on == "answer" else 0.5 * math.log(toy.CODEC.vocab_size), abs=1e-5)


def test_the_best_checkpoint_of_arithmetic_is_the_most_exact_then_the_surest() -> None:
    task = toy.arithmetic()
    order = [(0.9, 0.2), (0.9, 0.3), (0.8, 0.1)]
    assert sorted(order, key=lambda pair: task.score({"exact_match": pair[0], "loss": pair[1]})) == order


def test_epochs_set_the_number_of_steps() -> None:
    assert toy.language(epochs=3).settings.steps == 3 * math.ceil(400 // tiny.CONTEXT / 4)
    assert toy.arithmetic(epochs=2, accumulation=3).settings.steps == 2 * math.ceil(100 / 12)


def test_samples_are_readable() -> None:
    text = toy.language(sample_tokens=7).sample(tiny.model())
    assert text.startswith("abcdefghijkl")
    assert len(text.replace("<|endoftext|>", "#")) == 12 + 7
    lines = toy.arithmetic().sample(tiny.model(vocabulary=toy.CODEC.vocab_size)).splitlines()
    assert [line.split("=")[0] for line in lines] == [f"0+{n}" for n in range(8)]


def test_a_context_that_the_data_cannot_fill_or_fit_is_refused_before_any_work() -> None:
    with pytest.raises(
        UserError, match=r"max_position_embeddings = 12 is too long for the test split, which has 12 tokens: set it to at most 11"
    ):
        task = toy.language()
        type(task)({**task.splits, "test": task.splits["test"][:12]}, task.settings, toy.SEED, tiny.CONTEXT, task.tokenizer)
    with pytest.raises(UserError, match=r"max_position_embeddings = 6 is too short for an equation of 7 tokens: set it to at least 7"):
        toy.arithmetic(context=6)


def test_a_warm_up_that_outlasts_the_epochs_is_refused() -> None:
    with pytest.raises(UserError, match=r"training\.warmup_steps = 25 leaves nothing of 25 steps"):
        toy.arithmetic(epochs=1, warmup_steps=25)


def test_distillation_is_the_divergence_at_scored_positions() -> None:
    """Against a share of nothing but the teacher: zero for the teacher itself, and else sum p (log p - log q) over the answers alone."""
    task = toy.arithmetic()
    teacher, pupil = tiny.model(), models.create(tiny.config(), toy.SEED)
    task.learn_from(teacher, 1.0)
    inputs, targets = task.batch(0)
    assert abs(task.loss(inputs, teacher(inputs)[0], targets).item()) < 1e-4
    logits = pupil(inputs)[0]
    wanted, found = (part[targets != UNSCORED].log_softmax(-1) for part in (teacher(inputs)[0], logits))
    divergence = (wanted.exp() * (wanted - found)).sum()
    torch.testing.assert_close(task.loss(inputs, logits, targets), divergence)
    task.learn_from(teacher, 0.25)
    torch.testing.assert_close(task.loss(inputs, logits, targets), 0.25 * divergence + 0.75 * loss_sum(logits, targets))
