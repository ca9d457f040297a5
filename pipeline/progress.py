"""Progress of long work: a bar with rate and ETA on a terminal, a line every few seconds in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOG_INTERVAL = 10.0

T = TypeVar("T")

console = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """One line for the person who watches, on stderr."""
    console.print(text, markup=False, soft_wrap=True)


class Bar:
    """`with Bar("train shakespeare", total=2000, unit="steps") as bar: bar.advance(1, loss=1.9)`; `None` is an unknown total."""

    def __init__(self, title: str, total: int | None, unit: str, start: int = 0) -> None:
        self.title, self.total, self.unit, self.done, self.start = title, total, unit, start, start
        self.began = self.said = time.monotonic()
        self.text = ""
        self.progress = self._terminal() if console.is_terminal else None

    def _terminal(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
        progress = Progress(*columns, TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn(), console=console)
        progress.add_task(self.title, total=self.total, completed=self.start, text="")
        return progress

    def __enter__(self) -> "Bar":
        if self.progress:
            self.progress.start()
        return self

    def advance(self, amount: int, **fields: object) -> None:
        """Count `amount` units; `fields` (a loss, a rate) are shown beside the bar."""
        self.done += amount
        self.text = "  ".join(f"{name} {_show(value)}" for name, value in fields.items()) or self.text
        if self.progress:
            self.progress.update(self.progress.tasks[0].id, completed=self.done, text=self.text)
        elif time.monotonic() - self.said >= LOG_INTERVAL:
            self._line()

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """The items, counted as they are used up."""
        for item in items:
            yield item
            self.advance(1)

    def _line(self) -> None:
        self.said = time.monotonic()
        rate = (self.done - self.start) / max(self.said - self.began, 1e-9)
        total = left = ""
        if self.total is not None:
            total, left = f"/{self.total}", f"  ETA {(self.total - self.done) / rate if rate else float('inf'):.0f} s"
        say(f"{self.title}: {self.done}{total} {self.unit}  {self.text}  {_show(rate)} {self.unit}/s{left}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.progress:
            self.progress.stop()
        elif kind is None:
            self._line()
        sys.stderr.flush()


def _show(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
