"""How long one waits before any work begins: medians of five, beside the limits that the project set itself.

python bench/startup.py        # in a project where `make repro` has nothing left to do
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

REPEATS = 5
STAGES = {
    stage: "arithmetic" if stage in ("download", "tokenize") else "calculator"
    for stage in ("download", "tokenize", "train", "quantize", "convert", "evaluate")
}


def main() -> None:
    """Measure and print; exit code 1 where a limit is passed."""
    require_nothing_to_do()
    torch = median(lambda: timed([sys.executable, "-c", "import torch"]))
    rows = [
        ("python -m pipeline --help", median(lambda: timed([sys.executable, "-m", "pipeline", "--help"])), 0.5),
        ("import torch", torch, None),
        *((f"python -m pipeline {stage}, until its work begins", median(partial(start, stage)), torch + 0.5) for stage in STAGES),
        ("dvc repro, nothing to do", median(lambda: timed(["dvc", "repro"])), 3.0),
        ("snakemake -n", median(lambda: timed(["snakemake", "-n"])), 5.0),
    ]
    table = Table("what", "seconds", "limit")
    for what, seconds, limit in rows:
        table.add_row(what, f"{seconds:.2f}", f"{limit:.2f}" if limit else "")
    Console().print(table)
    sys.exit(any(limit is not None and seconds > limit for _, seconds, limit in rows))


def require_nothing_to_do() -> None:
    status = subprocess.run(["dvc", "status", "--quiet"], capture_output=True)
    if status.returncode:
        sys.exit("error: there is something left to do here, which would be measured too: run `make repro` first")


def median(measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(REPEATS))


def timed(command: Sequence[str]) -> float:
    """Wall seconds of a command that must succeed."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def start(stage: str) -> float:
    """Seconds from the command to the first line of its event log, which comes when all of its code is imported; then it is ended."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        command = [sys.executable, "-m", "pipeline", stage, STAGES[stage]]
        process = subprocess.Popen(
            command, env={**os.environ, "QUINTET_HOME": folder, "QUINTET_TRACKING": "off"}, stderr=subprocess.DEVNULL
        )
        try:
            while not (logs := [log for log in Path(folder).glob("events/*.jsonl") if log.stat().st_size]):
                if process.poll():
                    sys.exit(f"error: {' '.join(command)} failed")
                time.sleep(0.001)
        finally:
            process.kill()
            process.wait()
        return float(json.loads(logs[0].read_text().splitlines()[0])["time"]) - began


if __name__ == "__main__":
    main()
