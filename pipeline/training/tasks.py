"""Tasks: what a model is trained for. A task owns the batches, the loss, the metrics and the samples; the loop knows only this face."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import paths, rng
from pipeline.data import sampler, shards, tokenizers, windows
from pipeline.data.arithmetic import Codec
from pipeline.data.tokenizers import Tokenizer
from pipeline.errors import UserError
from pipeline.models.base import Model
from pipeline.models.generation import generate, read
from pipeline.training.streams import Reader

Array = npt.NDArray[Any]

UNSCORED = -100
"""Target of a position that no loss is taken on."""

EVALUATION_TOKENS = 4096
"""Tokens a batch of evaluation: it changes no figure beyond rounding, and so few stay in a processor's cache."""


class Batch(NamedTuple):
    """Token ids and, for each position, the id that should come next or `UNSCORED`; both int64 [B, T]."""

    inputs: Tensor
    targets: Tensor


class Sums(NamedTuple):
    """Scored positions of a batch, their total loss (a scalar on the device), and rows without a wrong position."""

    positions: int
    loss: Tensor
    exact_rows: Tensor


def loss_sum(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """Total cross-entropy over the scored positions, natural logarithm, in float32."""
    return F.cross_entropy(logits_BTV.flatten(0, 1).float(), targets_BT.flatten(), ignore_index=UNSCORED, reduction="sum")


def divergence_sum(logits_BTV: Tensor, wanted_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """Total Kullback-Leibler divergence of the predictions from the wanted ones over the scored positions, in float32."""
    scored = targets_BT != UNSCORED
    logits, wanted = (part[scored].float().log_softmax(-1) for part in (logits_BTV, wanted_BTV))
    return F.kl_div(logits, wanted, log_target=True, reduction="sum")


class Task(ABC):
    """Data, loss and metrics of one kind of problem."""

    def __init__(self, splits: Mapping[str, Array], settings: Any, seed: int) -> None:
        self.splits, self.settings, self.seed = splits, settings, seed
        self.teacher: Reader | None = None

    def learn_from(self, teacher: Model, share: float) -> None:
        """Let `share` of the loss be the divergence from the teacher's predictions (distillation: Hinton et al. 2015, temperature 1)."""
        self.teacher, self.share = self.reader(teacher.eval()), share

    def reader(self, module: Model) -> Reader:
        """The module as it reads this task's micro-batches."""
        return Reader(module, self.settings.accumulation, self.settings.carry_state)

    def loss(self, inputs_BT: Tensor, logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
        """What training lowers, over all scored positions of a batch."""
        loss = loss_sum(logits_BTV, targets_BT)
        if self.teacher is None:
            return loss
        with torch.no_grad():
            wanted = self.teacher(inputs_BT)
        return (1 - self.share) * loss + self.share * divergence_sum(logits_BTV, wanted.expand_as(logits_BTV), targets_BT)

    piece = sys.maxsize
    """Tokens that a module is given at a time in evaluation; its state goes from one piece to the next."""
    judged_from = 0
    """The first position whose prediction counts for a row's being exact."""

    def _settle(self, length: int, sequences: int) -> None:
        """Fix the number of steps, given how long a sequence is and how many make an epoch."""
        s = self.settings
        self.sequences = s.batch_size * s.accumulation
        """Sequences a step."""
        self.tokens_per_step = self.sequences * length
        if s.epochs is not None:
            self.settings = s = s.model_copy(update={"steps": s.epochs * -(-sequences // self.sequences)})
        if s.warmup_steps >= s.steps:
            raise UserError(f"training.warmup_steps = {s.warmup_steps} leaves nothing of {s.steps} steps: lower it, or train longer")
        if s.growth and s.growth[-1].step >= s.steps:
            raise UserError(f"training.growth: step {s.growth[-1].step} is not below the {s.steps} steps of the training: lower it")

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """What the optimizer step `step` learns from: a pure function of seed and step."""

    @abstractmethod
    def whole(self, split: str, limit: int | None = None) -> Iterator[Batch]:
        """A split once, in order; `limit` takes about its first `limit` tokens."""

    @abstractmethod
    def sample(self, module: Model) -> str:
        """A few lines that show a person what the model can do now."""

    def score(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """What the best checkpoint has least of."""
        return (metrics["loss"],)

    def summary(self, sums: Sequence[Sums], rows: int) -> dict[str, float]:
        """Metrics of a split: `loss`, the mean over its scored positions (natural logarithm)."""
        return {"loss": sum(s.loss.double().item() for s in sums) / sum(s.positions for s in sums)}

    @torch.inference_mode()
    def evaluate(self, module: Model, split: str, limit: int | None = None) -> dict[str, float]:
        """Metrics of a split (of about its first `limit` tokens); the module must be in inference mode (`module.eval()`)."""
        sums, rows = [], 0
        for batch in self.whole(split, limit):
            inputs, targets = (part.to(module.device) for part in batch)
            logits = torch.cat(list(read(module, inputs, self.piece)), 1)
            right = (logits.argmax(-1) == targets)[:, self.judged_from :].all(1)
            sums.append(Sums(int((batch.targets != UNSCORED).sum()), loss_sum(logits, targets), right.sum()))
            rows += len(inputs)
        return self.summary(sums, rows)


class Language(Task):
    """Next-token prediction on one long text."""

    def __init__(
        self, splits: Mapping[str, Array], settings: Any, seed: int, context: int, tokenizer: Tokenizer, recurrent: bool = False
    ) -> None:
        super().__init__(splits, settings, seed)
        key = "context" if recurrent else "max_position_embeddings"
        for split, tokens in splits.items():
            if len(tokens) <= context:
                raise UserError(
                    f"architecture.{key} = {context} is too long for the {split} split, which has {len(tokens)} tokens: "
                    f"set it to at most {len(tokens) - 1}, or give that split more text"
                )
        self.context, self.piece, self.tokenizer, self.recurrent = context, context, tokenizer, recurrent
        self._settle(context, len(splits["train"]) // context)

    def batch(self, step: int) -> Batch:
        draw = sampler.stream_batch if self.settings.carry_state else sampler.language_batch
        rows = draw(self.splits["train"], self.seed, step, self.sequences, self.context)
        return Batch(rows[:, :-1], rows[:, 1:])

    def whole(self, split: str, limit: int | None = None) -> Iterator[Batch]:
        """Windows (`windows.length`) side by side, each predicting all its positions from what it holds itself; the last may be shorter.

        Every token but the split's first is predicted once, the first of a window from one token only. (Overlapping windows would give a
        lower loss; this is the protocol of published character-level figures.)
        """
        tokens = self.splits[split][: None if limit is None else limit + 1].astype(np.int64)
        length = windows.length(tokens, self.context, self.recurrent)
        size = windows.STREAMS if self.recurrent else max(1, EVALUATION_TOKENS // length)
        for start in range(0, len(tokens) - 1, size * length):
            part = tokens[start : start + size * length + 1]
            full = [windows.full(part, length)] if len(part) > length else []
            for rows in (*full, windows.rest(part, length)):
                if rows.shape[1] > 1:
                    batch = torch.from_numpy(rows.copy())
                    yield Batch(batch[:, :-1], batch[:, 1:])

    def sample(self, module: Model) -> str:
        """Text that goes on from the first tokens of the validation split."""
        prompt = self.splits["validation"][: min(16, self.context)].tolist()
        s, stream = self.settings, rng.generator(self.seed, "sample")
        if module.device.type != "cpu":
            stream = torch.Generator(module.device).manual_seed(rng.derive(self.seed, "sample"))
        drawn = generate(module, [prompt], s.sample_tokens, temperature=s.sample_temperature, generator=stream)
        return self.tokenizer.decode([*prompt, *drawn[0]])


class Arithmetic(Task):
    """Equations, one a row; the loss is on the answer and its end, or on everything (`loss_on: all`)."""

    def __init__(self, splits: Mapping[str, Array], settings: Any, seed: int, context: int, codec: Codec) -> None:
        super().__init__(splits, settings, seed)
        if context < codec.row_length:
            raise UserError(
                f"architecture.max_position_embeddings = {context} is too short for an equation of {codec.row_length} tokens: "
                f"set it to at least {codec.row_length}"
            )
        self.codec, self.judged_from = codec, codec.prompt_length - 1
        self._settle(codec.row_length - 1, len(splits["train"]))

    def batch(self, step: int) -> Batch:
        rows = self.splits["train"]
        return self._split(rows[sampler.row_batch(len(rows), self.seed, step, self.sequences)])

    def _split(self, rows: Array) -> Batch:
        rows_BL = torch.from_numpy(rows.astype(np.int64))
        targets = rows_BL[:, 1:].clone()
        if self.settings.loss_on == "answer":
            targets[:, : self.judged_from] = UNSCORED
        return Batch(rows_BL[:, :-1], targets)

    def whole(self, split: str, limit: int | None = None) -> Iterator[Batch]:
        rows = self.splits[split]
        rows = rows[: None if limit is None else max(1, limit // rows.shape[1])]
        size = max(1, EVALUATION_TOKENS // rows.shape[1])
        for start in range(0, len(rows), size):
            yield self._split(rows[start : start + size])

    def summary(self, sums: Sequence[Sums], rows: int) -> dict[str, float]:
        """Adds `exact_match` to the loss: the share of rows with the right token on top at every position of the answer and its end.

        That is what greedy decoding gets right: up to its first wrong token it reads what stands in the row.
        """
        return {**super().summary(sums, rows), "exact_match": sum(s.exact_rows.item() for s in sums) / rows}

    def score(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        return (-metrics["exact_match"], metrics["loss"])

    def sample(self, module: Model) -> str:
        """Problems of the validation split with the model's answers."""
        rows = self.splits["validation"][:8].tolist()
        start = self.codec.prompt_length
        answers = generate(module, [row[:start] for row in rows], self.codec.answer_width + 1, eos=self.codec.eos)
        return "\n".join(self.codec.decode([*row[:start], *answer]) for row, answer in zip(rows, answers, strict=True))


def of(ready: Path, dataset: Mapping[str, Any], settings: Any, context: int, seed: int, recurrent: bool) -> Task:
    """The task of a ready data set, whose dataset.json is `dataset`, for a model of this context, with a recurrent state or without.

    Raises `UserError` where a shard is not what was written.
    """
    files = {split: ready / f"{split}.safetensors" for split in paths.SPLITS}
    for file in files.values():
        shards.verify(file)
    if dataset["kind"] == "classification":
        from pipeline.training.classification import Classification

        return Classification({split: shards.open(file) for split, file in files.items()}, settings, seed, dataset)
    codec = Codec.from_dict(dataset["codec"]) if dataset["kind"] == "arithmetic" else None
    splits = {split: shards.tokens(file, dataset["vocab_size"], codec.row_length if codec else None) for split, file in files.items()}
    if codec is not None:
        return Arithmetic(splits, settings, seed, context, codec)
    return Language(splits, settings, seed, context, tokenizers.load(ready), recurrent)
