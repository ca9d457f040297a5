"""Asks a worker to read damaged files, case after case, and collects what is neither read nor refused."""

import json
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from tests.workspace import PROJECT, environment

PATIENCE = 30.0
"""Seconds for one file of a few kilobytes: far more than any needs on a busy machine."""


class Finding(NamedTuple):
    """A case that a loader failed: `python -m tests.fuzz.loaders --case LOADER CASE` runs it again."""

    loader: str
    case: int
    what: str


class Fuzzer:
    """A worker and its table of loaders, as a context manager; a worker that hangs or dies is a finding, and gets a successor."""

    def __init__(self, module: str, loaders: Sequence[str], patience: float = PATIENCE) -> None:
        self.module, self.loaders, self.patience = module, list(loaders), patience
        self.outcomes: Counter[tuple[str, str]] = Counter()
        """How often each loader ended in `read` or `refused`."""
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Fuzzer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def _start(self) -> subprocess.Popen[str]:
        self.folder = tempfile.TemporaryDirectory()
        self.errors = (Path(self.folder.name) / "stderr").open("w+")
        command = [sys.executable, "-m", "tests.fuzz.worker", self.module, self.folder.name, *self.loaders]
        env = environment(PYTHONPATH=str(PROJECT), OMP_NUM_THREADS="1", MPLBACKEND="agg", CUDA_VISIBLE_DEVICES="")
        process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError(f"the worker does not start: {self._said()}")
        return process

    def _said(self) -> str:
        self.errors.seek(0)
        return self.errors.read()[-2000:]

    def _stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None
            self.errors.close()
            self.folder.cleanup()

    def run(self, loader: str, case: int) -> Finding | None:
        """One case; what is wrong with how it ended, if anything."""
        self.process = process = self.process or self._start()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{loader} {case}\n")
        process.stdin.flush()
        ready = select.select([process.stdout], [], [], self.patience)[0]
        line = process.stdout.readline() if ready else ""
        if not line:
            code = process.poll() if ready else None
            what = f"the process died: {process.wait() if ready and code is None else code}: {self._said()}" if ready else "took too long"
            self._stop()
            return Finding(loader, case, what)
        answer = json.loads(line)
        outcome = answer.partition(":")[0]
        self.outcomes[loader, outcome] += 1
        return None if outcome in ("read", "refused") else Finding(loader, case, answer)

    def cases(self, each: int) -> Iterator[Finding]:
        """The first `each` cases of every loader."""
        yield from filter(None, (self.run(loader, case) for loader in self.loaders for case in range(each)))

    def until(self, seconds: float, first: int) -> Iterator[Finding]:
        """Cases from `first` on, all loaders in turn, until the time is over."""
        self.process = self.process or self._start()
        end, case = time.monotonic() + seconds, first
        while time.monotonic() < end:
            yield from filter(None, (self.run(loader, case) for loader in self.loaders))
            case += 1
