"""The sink as a stage sees it: a child process that follows the event log, and a bounded wait for it at the end."""

import os
import subprocess
import sys
from pathlib import Path

from pipeline.progress import say

PACKAGE = str(Path(__file__).resolve().parents[2])
"""The child must run this very package, wherever the working directory is."""

PATIENCE = 20.0
"""Seconds that a stage's end waits for the sink."""


class Follower:
    """Runs `python -m pipeline sync --follow LOG --parent PID`; whatever happens to it, the stage goes on."""

    def __init__(self, log: Path) -> None:
        self.output = log.with_suffix(".sink.txt")
        command = [sys.executable, "-m", "pipeline", "sync", "--follow", str(log), "--parent", str(os.getpid())]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([PACKAGE, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
        self.process: subprocess.Popen[bytes] | None = None
        try:
            with self.output.open("wb") as output:
                self.process = subprocess.Popen(
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
        except OSError as error:
            say(f"MLflow's sink did not start ({error}): `python -m pipeline sync` replays this run into it")

    def finish(self, patience: float = PATIENCE) -> None:
        """Wait until the sink has sent all; if it cannot, or not in time, end it and say how to replay."""
        if self.process is None:
            return
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            say(f"MLflow is behind after {patience:.0f} s: `python -m pipeline sync` brings it up to date")
            return
        if code == 0:
            self.output.unlink(missing_ok=True)
        else:
            say(f"MLflow did not take this run's events ({self._reason()}): `python -m pipeline sync` replays them")

    def _reason(self) -> str:
        lines = self.output.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "its sink ended without a word"
