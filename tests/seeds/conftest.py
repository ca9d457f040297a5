"""What the tests of the seeds' documents share: a quiet machine, and an interrupted training."""

from collections.abc import Callable

import pytest
import torch

from pipeline.training.loop import Trainer


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`stop_after(7)`: the process's trainings die after seven optimizer steps of one run, without a word to the checkpoints."""

    def arrange(steps: int) -> None:
        left = [steps]
        whole_step = Trainer._step

        def step(trainer: Trainer) -> torch.Tensor:
            if left[0] == 0:
                raise MemoryError
            left[0] -= 1
            return whole_step(trainer)

        monkeypatch.setattr(Trainer, "_step", step)

    return arrange
