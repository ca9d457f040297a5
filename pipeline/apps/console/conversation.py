"""A text that a person and a model write in turn."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers.decoders import DecodeStream
from torch import Tensor

from pipeline import io, rng
from pipeline.apps.fit import GENERATION
from pipeline.apps.trained import open_model
from pipeline.data.tokenizers import Tokenizer, UnknownCharacter
from pipeline.errors import UserError
from pipeline.models.generation import choose, stream

SEED = 1337


@dataclass
class Settings:
    """How an answer is drawn (`pipeline.models.generation.choose`), and how long it may be."""

    temperature: float = 0.8
    tokens: int = 200
    top_k: int = 50
    top_p: float = 1.0
    seed: int = SEED


class Conversation:
    """All that was said, as the model's tokens, which the person keeps; the model sees the newest `context`, or all if recurrent."""

    def __init__(self, directory: Path) -> None:
        """Open the model and run it once, so that its first answer comes at once; raises `UserError`."""
        self.settings = Settings()
        self.written: set[Path] = set()
        """Files of /save, which may be written again."""
        self.open(directory)

    def open(self, directory: Path) -> None:
        """Take another model, with its own defaults of drawing if it has any, and begin anew; on `UserError` all stays as it was."""
        trained, own = open_model(directory), directory / GENERATION
        saved = io.read_json(own) if own.is_file() else {}
        self.trained = trained
        if "max_new_tokens" in saved:
            self.settings.temperature = saved.get("temperature", 0.0)
            self.settings.tokens = saved["max_new_tokens"]
            self.settings.top_k = saved.get("top_k", 0)
        self.reset()
        self._warm_up()

    def _warm_up(self) -> None:
        """A short and a whole window, each with the step behind it: what is chosen or compiled on first use, is then."""
        for length in (1, self.trained.module.context):
            for _ in stream(
                self.trained.module, torch.zeros(1, length, dtype=torch.int64, device=self.trained.module.device), new_tokens=2
            ):
                pass

    def reset(self) -> None:
        """Forget all that was said, and start the random stream again."""
        self.tokens: list[int] = []
        self.heard, self.state = 0, None
        self.restart()

    def restart(self) -> None:
        """Start the random stream again, at the seed of the settings."""
        self.generator = rng.generator(self.settings.seed, "console")

    @property
    def text(self) -> str:
        """All that was said."""
        return self.trained.tokenizer.decode(self.tokens)

    def say(self, line: str) -> None:
        """Add a person's line, on a line of its own where the alphabet has line ends; an empty one adds nothing.

        Raises `UserError` that names the characters which the tokenizer does not know, and where nothing was said at all.
        """
        tokenizer = self.trained.tokenizer
        if not line and not self.tokens:
            raise UserError("there is nothing to go on from yet: type the beginning of a text")
        if wrong := unknown(tokenizer, line):
            raise UserError(f"this model does not know {', '.join(wrong)}: write the line without {'it' if len(wrong) == 1 else 'them'}")
        apart = line and self.tokens and not tokenizer.decode(self.tokens[-1:]).endswith("\n") and not unknown(tokenizer, "\n")
        self.tokens += tokenizer.encode("\n" + line if apart else line)

    def answer(self) -> Generator[str]:
        """What the model goes on with, piece by piece as it is drawn and kept; ends with the model's end of text, or the tokens allowed."""
        tokenizer, decoder = self.trained.tokenizer, DecodeStream(skip_special_tokens=False)
        for token in self._carried() if self.trained.module.recurrent else self._windowed():
            if (id := int(token)) == tokenizer.eos:
                return
            self.tokens.append(id)
            yield decoder.step(tokenizer.backend, id) or ""

    def _windowed(self) -> Iterator[Tensor]:
        s, module = self.settings, self.trained.module
        seen = torch.tensor([self.tokens[-module.context :]], device=module.device)
        return stream(module, seen, new_tokens=s.tokens, temperature=s.temperature, top_k=s.top_k, top_p=s.top_p, generator=self.generator)

    @torch.inference_mode()
    def _carried(self) -> Iterator[Tensor]:
        """With a recurrent state, which goes from answer to answer: only what was said since is read."""
        s, module = self.settings, self.trained.module
        for _ in range(s.tokens):
            if fresh := self.tokens[self.heard :]:
                logits_BTV, self.state = module(torch.tensor([fresh], device=module.device), self.state)
                self.logits_BV, self.heard = logits_BTV[:, -1], len(self.tokens)
            yield choose(self.logits_BV, s.temperature, s.top_k, s.top_p, self.generator)


def unknown(tokenizer: Tokenizer, text: str) -> list[str]:
    """The characters of a text that the tokenizer has no id of their own for, as a person reads them."""
    return [f"{character!r} (U+{ord(character):04X})" for character in dict.fromkeys(text) if not _knows(tokenizer, character)]


def _knows(tokenizer: Tokenizer, character: str) -> bool:
    try:
        character.encode()
        return tokenizer.unknown not in tokenizer.encode(character)
    except (UnknownCharacter, UnicodeEncodeError):
        return False
