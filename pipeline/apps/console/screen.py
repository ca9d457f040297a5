"""Where a conversation is held: on a terminal, with history, completion and a live rate, or through a pipe, plain."""

import os
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from typing import Protocol


class Screen(Protocol):
    """What a conversation needs of the place where it is held."""

    person: bool
    """Whether somebody sits here, who is greeted and sees by itself which line could not be done."""

    def lines(self) -> Iterator[str]:
        """What the person enters, line by line, until the end."""
        ...

    def show(self, pieces: Generator[str]) -> None:
        """An answer, as it is drawn."""
        ...

    def note(self, text: str) -> None:
        """Something said beside the conversation."""
        ...

    def refuse(self, sentence: str) -> None:
        """Why a line could not be done."""
        ...


def choose(commands: Mapping[str, bool]) -> Screen:
    """The terminal if a person sits at both ends, else the pipe; `commands` as in `commands.completions`."""
    person = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    if not person:
        return Pipe()
    from pipeline.apps.console.terminal import Terminal

    return Terminal(commands)


class Pipe:
    """Lines from stdin; the model's words alone on stdout, everything else on stderr."""

    person = False

    def lines(self) -> Iterator[str]:
        with open(sys.stdin.fileno(), encoding="utf-8", errors="surrogateescape", closefd=False) as stdin:
            for line in stdin:
                yield line.removesuffix("\n").removesuffix("\r")

    def show(self, pieces: Generator[str]) -> None:
        with closing(pieces):
            for piece in pieces:
                sys.stdout.write(piece)
                sys.stdout.flush()
        print(flush=True)

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)

    def refuse(self, sentence: str) -> None:
        print(f"error: {sentence}", file=sys.stderr)
