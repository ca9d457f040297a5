"""Timing of alternatives on a CUDA device side by side, by the device's own events."""

import statistics
from collections.abc import Callable, Mapping

import torch

from bench.interleaved import Timing


def require_device() -> str:
    """The device's name; ends the program with one sentence where there is none."""
    if not torch.cuda.is_available():
        raise SystemExit("this benchmark needs a CUDA device, and torch finds none: run it on a machine with a GPU and its driver")
    return torch.cuda.get_device_name()


def measure(calls: Mapping[str, Callable[[], object]], rounds: int = 15, seconds: float = 0.02) -> dict[str, Timing]:
    """Seconds of one call of each, launches that the device waits for included, over rounds of about `seconds`; two do not count."""
    repeats = {}
    for name, call in calls.items():
        _once(call, 3)  # the first calls allocate and compile
        repeats[name] = max(1, round(seconds / max(_once(call, 3), 1e-6)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 2):
        for name, call in calls.items():
            times[name].append(_once(call, repeats[name]))
    return {name: _timing(sorted(each[2:])) for name, each in times.items()}


def captured(call: Callable[[], object]) -> Callable[[], None]:
    """The same launches as one CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def peak_flops(dtype: torch.dtype = torch.float32, size: int = 8192) -> float:
    """Operations a second of torch's product of two large random matrices: the rate that the device really reaches."""
    a, b = (torch.randn(size, size, device="cuda", dtype=dtype) for _ in range(2))
    return 2 * size**3 / measure({"product": lambda: a @ b}, rounds=5)["product"].median


def _once(call: Callable[[], object], repeats: int) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3 / repeats


def _timing(times: list[float]) -> Timing:
    return Timing(statistics.median(times), times[len(times) // 10], times[-1 - len(times) // 10])
