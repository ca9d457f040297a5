"""MLflow's pages on a project's store, served as `python -m pipeline ui` serves them."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.browser.chromium import Browser
from tests.workspace import PROJECT, environment

PATIENCE = 120.0
"""Seconds that a page may take on a busy machine."""
NO_ASSISTANT = "localStorage['mlflow.assistant.fab.autoOpenedOnFirstLoad_v1'] = 'true'"
"""A panel that MLflow opens at a browser's first visit, and which hides a third of the page."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address that the command printed, once the server behind it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])
    env = environment(PYTHONPATH=path, MLFLOW_DISABLE_TELEMETRY="true", OMP_NUM_THREADS="1")
    command = [sys.executable, "-m", "pipeline", "ui", "--port", str(port)]
    with (folder / "ui.txt").open("wb") as said:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=said, stderr=said, start_new_session=True)
    until = time.monotonic() + PATIENCE
    try:
        while not _answers(f"http://127.0.0.1:{port}/version"):
            printed = (folder / "ui.txt").read_text()
            assert server.poll() is None and time.monotonic() < until, printed
            time.sleep(0.3)
        lines = (folder / "ui.txt").read_text().splitlines()
        yield next(line for line in lines if line.startswith("http://127.0.0.1"))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, 15)
        server.wait()
        (folder / "ui.txt").unlink()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def visit(page: Browser, url: str) -> None:
    """Open a page of MLflow as at a second visit."""
    page.open(url.partition("#")[0] + "version")
    page.run(NO_ASSISTANT)
    page.open(url)
