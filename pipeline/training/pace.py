"""Loss and speed since they were last read: what the bar and the event log show."""

import contextlib
import time
from collections.abc import Iterator

import torch
from torch import Tensor


class Pace:
    """Adds up losses on their device; only `read` waits for it."""

    def __init__(self, tokens_per_step: int, device: torch.device) -> None:
        self.tokens_per_step = tokens_per_step
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.steps, self.began = 0, time.perf_counter()

    def step(self, loss: Tensor) -> None:
        """Count a step and its loss."""
        self.loss += loss
        self.steps += 1

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave what happens in a `with` block out of the rate."""
        before = time.perf_counter()
        yield
        self.began += time.perf_counter() - before

    def read(self) -> dict[str, float]:
        """Mean `loss` and `tokens_per_second` since the last reading, of at least one step, and the process's `cpu_seconds` so far."""
        loss, now = self.loss.item() / self.steps, time.perf_counter()
        rate = self.steps * self.tokens_per_step / max(now - self.began, 1e-9)
        self.loss.zero_()
        self.steps, self.began = 0, now
        return {"loss": loss, "tokens_per_second": rate, "cpu_seconds": time.process_time()}
