"""The console's terminal: prompt_toolkit reads the lines, rich shows the answer and its rate."""

import re
import signal
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from threading import Event
from types import FrameType

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from pipeline import paths

MARK = "> "
RATE = 10
"""Times a second that the screen is drawn anew while an answer comes."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Terminal:
    """A person's screen. Ctrl-C stops an answer; twice, with no line entered between, it leaves."""

    person = True

    def __init__(self, commands: Mapping[str, bool]) -> None:
        self.console = Console(highlight=False)
        self.session: PromptSession[str] = PromptSession(
            history=_history(), completer=Commands(commands), complete_while_typing=False, key_bindings=_keys(), multiline=False
        )
        self.interrupted = False

    def lines(self) -> Iterator[str]:
        while True:
            try:
                line = self.session.prompt(MARK)
            except EOFError:
                return
            except KeyboardInterrupt:
                if self.interrupted:
                    return
                self.interrupted = True
                self.note("Ctrl-C again leaves.")
                continue
            self.interrupted = False
            yield line

    def show(self, pieces: Generator[str]) -> None:
        began, count, stopped = time.perf_counter(), 0, False
        with interruptible() as stop, closing(pieces), Answer(self.console) as answer:
            for piece in pieces:
                count += 1
                answer.add(piece, f"{_rate(count, began)}, Ctrl-C stops")
                if stop.is_set():
                    stopped = self.interrupted = True
                    break
        self.note(f"{_rate(count, began)}{', stopped: Ctrl-C again leaves' if stopped else ''}")

    def note(self, text: str) -> None:
        self.console.print(Text(text, "dim"), soft_wrap=True)

    def refuse(self, sentence: str) -> None:
        self.console.print(Text(sentence, "red"), soft_wrap=True)


class Answer:
    """An answer under way: rows that are full stay as they are, the last one and the state below it are drawn anew."""

    def __init__(self, console: Console) -> None:
        self.console, self.row, self.drawn = console, "", 0.0
        self.live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> "Answer":
        self.live.start()
        return self

    def add(self, piece: str, state: str) -> None:
        """Append to the text, and draw it unless that was just done."""
        self.row += _CONTROL.sub("\ufffd", piece).expandtabs(8)
        *full, self.row = (row for line in self.row.split("\n") for row in self._rows(line))
        if full or time.perf_counter() - self.drawn > 1 / RATE:
            self.live.update(Group(Text(self.row), Text(state, "dim")), refresh=True)
            self.drawn = time.perf_counter()
        for row in full:  # rich puts it above what it draws anew
            self.live.console.print(Text(row), soft_wrap=True)

    def _rows(self, line: str) -> list[str]:
        """A line in rows of the screen's width, broken between words where it can be."""
        width, rows = self.console.width, []
        while cell_len(line) > width:
            end = len(Text(line).wrap(self.console, width)[0].plain)
            rows.append(line[:end].rstrip(" "))
            line = line[end:].removeprefix(" ")
        return [*rows, line]

    def __exit__(self, *_: object) -> None:
        self.live.update(Text(""))
        self.live.stop()
        if self.row:
            self.console.print(Text(self.row), soft_wrap=True)


class Commands(Completer):
    """Completes what begins with a slash, and the path after a command that takes one."""

    def __init__(self, commands: Mapping[str, bool]) -> None:
        self.commands, self.paths = commands, PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        name, space, rest = document.text_before_cursor.partition(" ")
        if not space:
            return (Completion(known, -len(name)) for known in self.commands if name and known.startswith(name))
        if self.commands.get(name):
            return self.paths.get_completions(Document(rest), complete_event)
        return ()


def _history() -> History:
    """What was entered before, in the project's private folder; outside a project it lasts as long as the console."""
    if not paths.private().is_dir():
        return InMemoryHistory()
    return FileHistory(str(paths.private() / "console.history"))


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


@contextmanager
def interruptible() -> Iterator[Event]:
    """Within, Ctrl-C sets the event, and raises `KeyboardInterrupt` only where it is set already."""
    stop = Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _rate(count: int, began: float) -> str:
    return f"{count} tokens, {count / max(time.perf_counter() - began, 1e-9):,.0f} a second"
