"""How long a person waits: from Enter to an answer's first token on a real terminal, and for `solve` on 1,000 problems.

python -m bench.console        # in a project where `make repro` has made the default models
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline import paths
from tests.terminal import Terminal

PROMPTS = ["ROMEO:", "What say you, my lord?", "O", "Now is the winter of our discontent", "I"]
ROUNDS = 6
FIRST_TOKEN = 0.150
THOUSAND = 5.0
READY = r"\n>\s*$"


def main() -> None:
    """Measure and print; exit code 1 where a limit is passed."""
    rows = []
    for folder in (paths.quantized, paths.model):
        for directory in sorted(Path().glob(f"{folder('*')}/config.json")):
            if '"task": "language"' in directory.read_text():
                rows.append((f"Enter to first token, {directory.parent}", waits(directory.parent), FIRST_TOKEN))
    if not rows:
        sys.exit("error: there is no model here to talk to: run `make repro` first")
    rows.append(("solve, 1,000 problems, the whole command", [thousand() for _ in range(ROUNDS - 1)], THOUSAND))
    table = Table("what", "median, s", "worst, s", "limit, s")
    for what, seconds, limit in rows:
        table.add_row(what, f"{statistics.median(seconds):.3f}", f"{max(seconds):.3f}", f"{limit}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    sys.exit(any(statistics.median(seconds) > limit for _, seconds, limit in rows))


def waits(directory: Path) -> list[float]:
    """Seconds from Enter to the first token of each of many answers in one conversation, the very first included."""
    found = []
    with Terminal(Path.cwd(), "console", str(directory)) as screen:
        screen.expect(READY)
        screen.enter("/tokens 20")
        screen.expect(READY)
        for line in PROMPTS * ROUNDS:
            screen.type(line)
            time.sleep(0.2)  # a person, whose letters are drawn before Enter
            began = time.perf_counter()
            screen.type("\r")
            screen.expect(r"\d+ tokens, ")
            found.append(time.perf_counter() - began)
            screen.expect(READY)
    return found


def thousand() -> float:
    """Seconds of `solve` on a file of a thousand problems."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(f"{i % 100}{'+-'[i % 2]}{i * 37 % 101}=\n" for i in range(1000))
        file.flush()
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "pipeline", "solve", "--file", file.name], check=True, capture_output=True)
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
