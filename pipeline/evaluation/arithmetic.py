"""Arithmetic: the share of held-out problems whose whole answer is right, by kind of problem, and three ways to ask."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from pipeline.data import shards
from pipeline.data.arithmetic import Codec, labels, parse, value
from pipeline.errors import UserError
from pipeline.evaluation import Verdict
from pipeline.evaluation.intervals import wilson
from pipeline.models.base import Model
from pipeline.models.generation import generate
from pipeline.schema.models import Evaluation

SHOWN = 20
"""Problems in the samples of each model, and as many of its errors at most."""


class Answer(NamedTuple):
    """A held-out equation and what a model answered, both as people write numbers."""

    equation: str
    got: str

    @property
    def expected(self) -> str:
        return self.equation.partition("=")[2]

    @property
    def right(self) -> bool:
        return self.got == self.expected


class Judge:
    """Judges by greedy decoding; an answer is right if all its digits and its end are."""

    def __init__(self, config: Mapping[str, Any], ready: Path, settings: Evaluation, seed: int) -> None:
        self.ready, self.settings = ready, settings
        self.codec = Codec.from_dict(config["quintet"]["codec"])
        tokens = self._rows("test")
        if 0 < settings.problems < len(tokens):
            tokens = tokens[np.linspace(0, len(tokens) - 1, settings.problems).astype(np.int64)]
        self.rows_NL = tokens.astype(np.int64)
        self.equations = [self.codec.decode(row) for row in self.rows_NL.tolist()]
        self.prompt = None if settings.prompt is None else self._prompt(settings.prompt)

    def _prompt(self, text: str) -> list[int]:
        try:
            return self.codec.encode_problem(text)
        except UserError as error:
            raise UserError(f"evaluation.prompt = {text!r}: {error}") from None

    def verdict(self, model: Model) -> Verdict:
        """Exact match with its 95 % interval, loss, and the three test types; the detail is the list of answers."""
        began = time.perf_counter()
        answers = self.solve(model)
        speed = {"problems_per_second": len(answers) / (time.perf_counter() - began)}
        match, low, high = _share([answer.right for answer in answers])
        types = {
            "first_operand_self_consistency": self.first_operand(model),
            "expression_complete": self.expression_complete(model),
            "answer_complete": match,
        }
        figures = {"exact_match": match, "exact_match_low": low, "exact_match_high": high, "problems": len(answers)}
        return Verdict({**figures, "loss": self.loss(model), "test_types": types}, answers, speed)

    def solve(self, model: Model) -> list[Answer]:
        """The model's answers to all problems, in the split's order."""
        given = self.codec.prompt_length
        written = self._continue(model, self.rows_NL[:, :given].tolist())
        return [Answer(text, self.codec.decode_answer(ids[given:])) for text, ids in zip(self.equations, written, strict=True)]

    def _continue(self, model: Model, prompts: Sequence[list[int]]) -> list[list[int]]:
        """Whole rows that begin with the prompts, which have one length: greedy, a batch at a time, with the model's own state."""
        size, left, rows = self.settings.batch_size, self.codec.row_length - len(prompts[0]), []
        for start in range(0, len(prompts), size):
            batch = prompts[start : start + size]
            rows += [[*prompt, *ids] for prompt, ids in zip(batch, generate(model, batch, left, eos=self.codec.eos), strict=True)]
        return rows

    def first_operand(self, model: Model) -> float:
        """Self-consistency: given only a first number of the split (each once), the share of equations made up that are true.

        It says nothing about held-out problems, since the model chooses its own; one trained on answers only was never taught to.
        """
        firsts = sorted({parse(equation).operands[0] for equation in self.equations})
        rows = self._continue(model, [self.codec.encode(str(first)) for first in firsts])
        return sum(_true(self.codec.decode(row)) for row in rows) / len(rows)

    def expression_complete(self, model: Model) -> float:
        """Exact match where the equals sign too is left to the model; one trained on answers only was never taught to write it."""
        rows = self._continue(model, self.rows_NL[:, : self.codec.prompt_length - 1].tolist())
        return sum(self.codec.decode(row) == equation for row, equation in zip(rows, self.equations, strict=True)) / len(rows)

    @torch.inference_mode()
    def loss(self, model: Model) -> float:
        """Nats a token of answer and end, the right tokens before it given."""
        given, total = self.codec.prompt_length, 0.0
        for part in torch.from_numpy(self.rows_NL).split(self.settings.batch_size):
            logits_BTV, _ = model(part[:, :-1])
            total += F.cross_entropy(logits_BTV[:, given - 1 :].flatten(0, 1).double(), part[:, given:].flatten(), reduction="sum").item()
        return total / (len(self.rows_NL) * (self.codec.row_length - given))

    def _rows(self, split: str) -> shards.Array:
        return shards.tokens(self.ready / f"{split}.safetensors", self.codec.vocab_size, self.codec.row_length)

    def baselines(self) -> dict[str, dict[str, float]]:
        """What always giving the training split's most frequent answer gets right."""
        rows = self._rows("train")[:, self.codec.prompt_length :]
        kinds, counts = np.unique(rows, axis=0, return_counts=True)
        guess = kinds[counts.argmax()]
        return {"most_frequent_answer": {"exact_match": float((self.rows_NL[:, self.codec.prompt_length :] == guess).all(1).mean())}}

    def table(self, verdicts: Mapping[str, Verdict]) -> list[dict[str, Any]]:
        """Exact match with its 95 % interval by operators, digits of the longest operand, and amount carried."""
        kinds = [labels(equation) for equation in self.equations]
        rows = []
        for kind, count in sorted(Counter(kinds).items()):
            shares: dict[str, float] = {}
            for name, verdict in verdicts.items():
                match, low, high = _share([answer.right for answer, own in zip(verdict.detail, kinds, strict=True) if own == kind])
                shares |= {name: match, f"{name}_low": low, f"{name}_high": high}
            rows.append({**kind._asdict(), "problems": count, **shares})
        return rows

    def samples(self, judged: Mapping[str, tuple[Model, Verdict]]) -> str:
        """The prompt, problems evenly spread over the split, and the first of the other errors, each marked right or wrong."""
        return "\n".join(f"=== {name} ===\n{self._sample(model, verdict.detail)}\n" for name, (model, verdict) in judged.items())

    def _sample(self, model: Model, answers: Sequence[Answer]) -> str:
        lines = [self.codec.decode(self._continue(model, [self.prompt])[0])] if self.prompt else []
        lines += [f"{sum(answer.right for answer in answers)} of {len(answers)} held-out problems right"]
        spread = [answers[i] for i in np.linspace(0, len(answers) - 1, min(SHOWN, len(answers))).astype(int)]
        errors = [answer for answer in answers if not answer.right and answer not in spread]
        return "\n".join([*lines, *map(_line, spread), *map(_line, errors[:SHOWN])])


def _line(answer: Answer) -> str:
    problem = answer.equation.partition("=")[0]
    return f"right  {answer.equation}" if answer.right else f"wrong  {problem}={answer.got} (it is {answer.expected})"


def _share(right: Sequence[bool]) -> tuple[float, float, float]:
    return (sum(right) / len(right), *wilson(sum(right), len(right)))


def _true(text: str) -> bool:
    """Whether a text is a whole equation that holds."""
    try:
        equation = parse(text)
        return equation.answer is not None and value(equation.operands, equation.operators) == equation.answer
    except (UserError, ZeroDivisionError):
        return False
