"""tinyllm_py's data set loader: text in small letters with plain spaces, split in two, in windows and batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from pipeline import paths
from pipeline.apps.tinyllm_config import TrainingConfig
from pipeline.data import documents, splits
from pipeline.data.cleaning import clean
from pipeline.data.tokenizers import CharacterTokenizer
from pipeline.errors import UserError
from pipeline.schema.data import Cleaning, Split
from pipeline.schema.training import Training
from pipeline.training.tasks import Batch, Language

PLAYS = "plays"
"""The data set that stands for Shakespeare where no file is named."""
SEED = 1337
EVALUATE_EVERY = 250
"""Steps between two evaluations; where an epoch is shorter, it is evaluated once an epoch."""
PATIENCE = 10
"""Evaluations without improvement that end a training early."""


def load_text(path: str | Path | None = None) -> str:
    """A text file's content, or without a file Shakespeare's plays, in lower case and with white space normalised; raises `UserError`."""
    if path is None:
        return _plays()
    try:
        raw = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: name a text file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    text = clean(raw, Cleaning(lowercase=True, normalize_whitespace=True))
    if not text.strip():
        raise UserError(f"{path} is empty: name a file with text")
    return text


def _plays() -> str:
    path = paths.raw(PLAYS) / "documents.jsonl"
    if not path.is_file():
        raise UserError(f"no text file was named and {path} is missing: name one, or run `python -m pipeline download {PLAYS}`")
    cleaning = Cleaning(play_markdown=True, lowercase=True, normalize_whitespace=True)
    return "\n".join(clean(document.text, cleaning) for document in documents.read(path))


@dataclass(frozen=True)
class TextDataset:
    """A text as token ids in the splits `train` and `validation`, with the tokenizer that was fitted to it."""

    tokenizer: CharacterTokenizer
    splits: dict[str, npt.NDArray[Any]]

    @classmethod
    def of(cls, text: str, val_split: float) -> "TextDataset":
        """The last `val_split` of the text is the validation split."""
        cut, _ = splits.contiguous_cuts(len(text), Split(validation=val_split, test=0.0))
        tokenizer = CharacterTokenizer().fit(text)
        encode = tokenizer.tokenizer.encode_array
        return cls(tokenizer, {"train": encode(text[:cut]), "validation": encode(text[cut:])})

    def task(self, config: TrainingConfig, seed: int = SEED) -> Language:
        """What the one loop trains on; raises `UserError` where a split is shorter than a window."""
        for name, tokens in self.splits.items():
            if len(tokens) <= config.max_context:
                raise UserError(
                    f"TrainingConfig.max_context = {config.max_context} is too long for the {name} split of {len(tokens)} characters: "
                    "lower it, give more text, or change val_split"
                )
        settings = training(config, len(self.splits["train"]))
        return Language(self.splits, settings, seed, config.max_context, self.tokenizer.tokenizer)

    def batches(self, config: TrainingConfig, seed: int = SEED) -> Iterator[Batch]:
        """The batches of a whole training in order: `inputs` and `targets`, int64 [batch_size, max_context]; windows at random places."""
        task = self.task(config, seed)
        return (task.batch(step) for step in range(task.settings.steps))


def load_dataset(path: str | Path | None, config: TrainingConfig) -> TextDataset:
    """A file's text (the plays' without one), preprocessed, tokenized and split; raises `UserError`."""
    return TextDataset.of(load_text(path), config.val_split)


def training(config: TrainingConfig, characters: int) -> Training:
    """The loop's settings for a training text of so many characters. AdamW without weight decay is Adam, which the document names."""
    epoch = -(-(characters // config.max_context) // config.batch_size)
    return Training(
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=0.0,
        gradient_clip=config.gradient_clip,
        warmup_steps=min(100, config.epochs * epoch // 10),
        evaluate_every=min(epoch, EVALUATE_EVERY),
        patience=PATIENCE,
        sample_every=config.sample_frequency,
        sample_temperature=config.temperature,
        device="cuda" if torch.cuda.is_available() else "cpu",
        threads=torch.get_num_threads(),
    )
