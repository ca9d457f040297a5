"""A command on a real pseudo-terminal: what a person types, and what the screen gets."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Self

from tests.workspace import PROJECT, environment

_STYLE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[=>])|[\r\b\x07]")
_BEGUN = re.compile(r"\x1b(?:\[[0-9;?]*)?$")
PATIENCE = 120.0
"""Seconds after which what was expected does not come any more."""


class Terminal:
    """`python -m pipeline ARGUMENTS` in a folder, 100 columns wide; leaving the `with` block ends it."""

    def __init__(self, folder: Path, *arguments: str, **extra: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        env = environment(PYTHONPATH=str(PROJECT), TERM="xterm", PROMPT_TOOLKIT_NO_CPR="1", OMP_NUM_THREADS="1", **extra)
        command = [sys.executable, "-m", "pipeline", *arguments]
        streams = {"stdin": slave, "stdout": slave, "stderr": slave}
        self.process = subprocess.Popen(command, cwd=folder, env=env, **streams, start_new_session=True, preexec_fn=_control)
        os.close(slave)
        self.raw = ""
        self.seen = ""
        """What came since the last thing that was expected, without colours and movements of the cursor."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def enter(self, line: str) -> None:
        self.type(line + "\r")

    def expect(self, pattern: str) -> str:
        """What comes up to and including a pattern."""
        deadline = time.monotonic() + PATIENCE
        while not (match := re.search(pattern, self.seen, re.DOTALL)):
            if not self._more(deadline):
                raise AssertionError(f"{pattern!r} did not come, but {self.seen!r}")
        text, self.seen = self.seen[: match.end()], self.seen[match.end() :]
        return text

    def ends(self) -> int:
        """Exit code of the command, which has to end by itself."""
        deadline = time.monotonic() + PATIENCE
        while self._more(deadline):
            pass
        return self.process.wait(PATIENCE)

    def _more(self, deadline: float) -> bool:
        if not select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self.master, 1 << 16)
        except OSError:  # the other side is closed
            return False
        self.raw += data.decode(errors="replace")
        whole = len(self.raw) if (begun := _BEGUN.search(self.raw)) is None else begun.start()
        self.seen += _STYLE.sub("", self.raw[:whole])
        self.raw = self.raw[whole:]
        return bool(data)


def _control() -> None:
    """In the new process: make the terminal the one whose Ctrl-C reaches it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
