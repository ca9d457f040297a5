"""CPU and memory of a long stage, sampled by a thread into its event log."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping

import psutil

INTERVAL = 5.0
"""Seconds between samples."""

Emit = Callable[[Mapping[str, float], int], None]


@contextlib.contextmanager
def sampled(emit: Emit, interval: float = INTERVAL) -> Iterator[None]:
    """Emit samples for the time of a `with` block, and one at its end; their step counts the samples."""
    process, ended = psutil.Process(), threading.Event()
    process.cpu_percent(), psutil.cpu_percent()  # the first call only starts the count

    def watch() -> None:
        step = 0
        while not ended.wait(interval):
            emit(_sample(process), step)
            step += 1
        emit(_sample(process), step)

    thread = threading.Thread(target=watch, daemon=True, name="system-metrics")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _sample(process: psutil.Process) -> dict[str, float]:
    """MLflow shows what begins with `system/` on its own page; 100 % of a process is one core, 100 % of the machine all of them."""
    return {
        "system/process_cpu_percent": process.cpu_percent(),
        "system/process_memory_megabytes": process.memory_info().rss / 1e6,
        "system/machine_cpu_percent": psutil.cpu_percent(),
        "system/machine_memory_percent": psutil.virtual_memory().percent,
    }
