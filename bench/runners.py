"""How long the two runners take for a whole graph on two cores: `snakemake -j2` beside `dvc repro`, in fresh clones, one after the other.

python -m bench.runners --preset smoke --rounds 3
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

PROJECT = Path(__file__).resolve().parent.parent
RUNNERS = {"dvc repro": ["dvc", "repro"], "snakemake -j2": ["snakemake", "-j2"]}
GOAL = 0.7
"""Snakemake's wall time as a share of DVC's."""


def main() -> None:
    """Measure and print; exit code 1 where the goal is missed."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--preset", default="smoke", help="a file of presets/, without its ending")
    asked.add_argument("--rounds", type=int, default=3, help="runs of each")
    options = asked.parse_args()
    table = Table("round", *RUNNERS, "share", "load before", title=f"seconds for the preset {options.preset}", title_justify="left")
    shares = []
    for number in range(1, options.rounds + 1):
        load = os.getloadavg()[0]
        order = list(RUNNERS)[:: 1 if number % 2 else -1]  # each goes first as often as the other
        seconds = {runner: measure(RUNNERS[runner], options.preset) for runner in order}
        shares.append(seconds["snakemake -j2"] / seconds["dvc repro"])
        table.add_row(str(number), *(f"{seconds[runner]:.1f}" for runner in RUNNERS), f"{shares[-1]:.2f}", f"{load:.1f}")
    Console().print(table)
    share = statistics.median(shares)
    print(f"snakemake -j2 takes {share:.2f} of dvc repro's time (median of {options.rounds}; goal {GOAL}); {os.cpu_count()} cores here")
    sys.exit(share > GOAL)


def measure(command: list[str], preset: str) -> float:
    """Wall seconds of a run of everything in a new clone of the committed state; only downloads are there already."""
    with tempfile.TemporaryDirectory(prefix="quintet-runners-") as folder:
        clone = Path(folder) / "quintet"
        subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(clone)], check=True)
        shutil.copy(clone / f"presets/{preset}.yaml", clone / "params.yaml")
        (clone / "dvc.lock").unlink()
        for results in ("metrics", "plots"):
            shutil.rmtree(clone / results)
        downloads = PROJECT / ".quintet/downloads"
        downloads.mkdir(parents=True, exist_ok=True)
        (clone / ".quintet").mkdir()
        (clone / ".quintet/downloads").symlink_to(downloads)
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DVC_SITE_CACHE_DIR": f"{folder}/cache"}
        began = time.perf_counter()
        done = subprocess.run(command, cwd=clone, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"error: {' '.join(command)} failed:\n{done.stdout[-2000:]}")
    return seconds


if __name__ == "__main__":
    main()
