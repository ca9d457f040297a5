"""Timing of alternatives side by side: one after the other in each round, so that all meet the same noise of a shared machine."""

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Timing:
    """CPU seconds of one call: median, 10th and 90th percentile over the rounds."""

    median: float
    low: float
    high: float


def measure(calls: Mapping[str, Callable[[], object]], rounds: int = 15, seconds: float = 0.02) -> dict[str, Timing]:
    """CPU time of this thread for one call of each, over `rounds` rounds of about `seconds` for each; the first two rounds do not count."""
    repeats = {}
    for name, call in calls.items():
        _once(call, 3)  # the first calls allocate and compile
        repeats[name] = max(1, round(seconds / max(_once(call, 3), 1e-6)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 2):
        for name, call in calls.items():
            times[name].append(_once(call, repeats[name]))
    return {name: _timing(sorted(each[2:])) for name, each in times.items()}


def _once(call: Callable[[], object], repeats: int) -> float:
    start = time.thread_time()
    for _ in range(repeats):
        call()
    return (time.thread_time() - start) / repeats


def _timing(times: list[float]) -> Timing:
    return Timing(statistics.median(times), times[len(times) // 10], times[-1 - len(times) // 10])


def peak_flops() -> float:
    """Floating-point operations a second of one thread in registers (bench/peak.cpp, compiled here)."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peak"
        subprocess.run(
            ["c++", "-O3", "-march=native", "-std=c++17", "-ffp-contract=fast", str(HERE / "peak.cpp"), "-o", program], check=True
        )
        return float(subprocess.run([program], check=True, capture_output=True, text=True).stdout)
