"""Language: nats a token over the whole test split, by position in the window, and samples of text."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from pipeline import models, rng
from pipeline.data import shards, tokenizers, windows
from pipeline.data.ready import description
from pipeline.errors import UserError
from pipeline.evaluation import Verdict
from pipeline.evaluation.baselines import Bigram, bits_per_byte, compressed_bits_per_byte
from pipeline.models.base import Model
from pipeline.models.generation import generate, read
from pipeline.schema.models import Evaluation

LOGITS_AT_ONCE = 1 << 24
"""Bounds the memory of a pass."""
TOKENS_AT_ONCE = 4096
"""More than this is slower on a core, since a layer's activations leave its cache."""
PROMPT_TOKENS = 16
"""Tokens of the test split that a sample goes on from where no prompt is given."""

Losses = npt.NDArray[np.float64]


class Judge:
    """Judges by the test split in windows (`windows.length`) side by side, as training does; the last may be shorter."""

    def __init__(self, config: Mapping[str, Any], ready: Path, settings: Evaluation, seed: int) -> None:
        self.ready, self.settings, self.seed = ready, settings, seed
        self.vocab_size = int(config["vocab_size"])
        self.totals = description(ready)["splits"]["test"]
        self.tokens = shards.tokens(ready / "test.safetensors", self.vocab_size)
        self.context = models.context(config)
        self.parts = self._parts(windows.length(self.tokens, self.context, models.recurrent(config)), settings.windows)
        self.tokenizer = tokenizers.load(ready)
        self.prompt = self._prompt(settings.prompt)

    def _parts(self, context: int, limit: int) -> list[npt.NDArray[np.int64]]:
        """Arrays of windows [n, S] of one length each: S - 1 inputs and, one further on, their targets."""
        full, rest = windows.full(self.tokens, context), windows.rest(self.tokens, context)
        if 0 < limit < len(full):
            return [full[np.linspace(0, len(full) - 1, limit).astype(np.int64)].astype(np.int64)]
        return [part.astype(np.int64) for part in (full, rest) if part.shape[1] > 1]

    def _prompt(self, text: str | None) -> list[int]:
        if text is None:
            return [int(id) for id in self.tokens[:PROMPT_TOKENS]]
        try:
            return self.tokenizer.encode(text)
        except UserError as error:
            raise UserError(f"evaluation.prompt = {text!r}: {error}") from None

    def verdict(self, model: Model) -> Verdict:
        """Loss, perplexity and bits per byte; the detail is the loss by position [T], the mean over the full windows.

        In windows longer than the context, each position of the detail stands for all of a context.
        """
        began = time.perf_counter()
        found = [losses(model, part, self._rows(part), self.context) for part in self.parts]
        seconds = time.perf_counter() - began
        count = sum(part.size for part in found)
        return Verdict(self.figures(found), self._by_position(found[0]), {"tokens_per_second": count / seconds})

    def _by_position(self, nats: Losses) -> Losses:
        mean: Losses = nats.mean(0)
        return mean if len(mean) <= self.context else mean.reshape(-1, self.context).mean(1)

    def _rows(self, part: npt.NDArray[np.int64]) -> int:
        return max(1, min(TOKENS_AT_ONCE, LOGITS_AT_ONCE // self.vocab_size) // min(part.shape[1], self.context))

    def figures(self, found: list[Losses]) -> dict[str, float]:
        """From the nats of every target: the mean, its exponential, and bits per byte, which compares across tokenizers."""
        loss = float(np.concatenate([part.ravel() for part in found]).mean())
        in_bytes = bits_per_byte(loss, self.totals["tokens"], self.totals["bytes"])
        return {"loss": loss, "perplexity": math.exp(loss), "bits_per_byte": in_bytes}

    def baselines(self) -> dict[str, dict[str, float]]:
        """Unigram and bigram, fitted on the training split and judged as the models are, and bzip2 of the test split."""
        bigram = Bigram.fit(shards.tokens(self.ready / "train.safetensors", self.vocab_size), self.vocab_size)
        text = self.tokenizer.decode(self.tokens[self.tokens != self.tokenizer.eos])
        return {
            "unigram": self.figures([bigram.unigram.losses(part[:, 1:]) for part in self.parts]),
            "bigram": self.figures([bigram.losses(part[:, :-1], part[:, 1:]) for part in self.parts]),
            "bzip2": {"bits_per_byte": compressed_bits_per_byte(text)},
        }

    def table(self, verdicts: Mapping[str, Verdict]) -> list[dict[str, Any]]:
        """Loss by position in the window, from 1: how much the models gain from what they have read."""
        positions = range(len(next(iter(verdicts.values())).detail))
        step = max(1, (self.parts[0].shape[1] - 1) // len(positions))
        return [{"position": (i + 1) * step} | {name: float(verdict.detail[i]) for name, verdict in verdicts.items()} for i in positions]

    def samples(self, judged: Mapping[str, tuple[Model, Verdict]]) -> str:
        """Text that each model draws after the prompt, with the same random numbers."""
        return "\n".join(f"=== {name} ===\n{self._sample(model)}\n" for name, (model, _) in judged.items())

    def _sample(self, model: Model) -> str:
        s = self.settings
        stream = rng.generator(self.seed, "evaluate", "sample")
        drawn = generate(model, [self.prompt], s.new_tokens, temperature=s.temperature, top_k=s.top_k, top_p=s.top_p, generator=stream)
        return self.tokenizer.decode([*self.prompt, *drawn[0]])


@torch.inference_mode()
def losses(model: Model, windows_NS: npt.NDArray[np.int64], rows: int, piece: int) -> Losses:
    """Nats of every target [N, S - 1], computed `rows` windows at a time, and `piece` tokens at a time of each."""
    found = []
    for part in torch.from_numpy(windows_NS).split(rows):
        pieces = zip(read(model, part[:, :-1], piece), part[:, 1:].split(piece, 1), strict=True)
        found.append(torch.cat([F.cross_entropy(logits.mT, targets, reduction="none") for logits, targets in pieces], 1))
    nats: Losses = torch.cat(found).double().numpy()
    return nats
