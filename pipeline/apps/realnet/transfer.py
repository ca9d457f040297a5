"""Skill transfer with its controls: a small RealNet learned to add; its weights go into a larger one, which learns to multiply."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from pipeline.apps.realnet.contestants import size
from pipeline.apps.realnet.realstore import save_checkpoint, transplant_weights
from pipeline.apps.realnet.sequences import Figures
from pipeline.apps.realnet.trainer import RealNetTrainer
from pipeline.models.realnet.network import RealNet

GOAL = "fewer updates than each control"
SMALL, LARGE, STEPS, ROWS, RATE = 24, 96, 5, 64, 1e-3
LESSONS, MOST, EVERY = 1000, 2000, 5
"""Updates of addition; the most of multiplication; from one look at its error to the next."""
SOLVED = 0.005
"""Squared error, as a share of the products' variance, at which multiplication counts as learned."""


def fresh(neurons: int) -> RealNet:
    return RealNet(neurons, [0, 1], [neurons - 1], bias_init=0.1)


def taught(seed: int) -> RealNet:
    """The small network after its lessons in addition."""
    model = fresh(SMALL)
    trainer, random = RealNetTrainer(model, lr=RATE), torch.Generator().manual_seed(seed)
    for _ in range(LESSONS):
        x = _numbers(random, ROWS)
        trainer.train_batch(x, x.sum(1, keepdim=True), STEPS, as_tensor=True)
    return model


def into_large(small: RealNet) -> RealNet:
    """A fresh large network with the small one's weights transplanted into it."""
    large = fresh(LARGE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.safetensors"
        save_checkpoint(small, None, 0, 0.0, path)
        transplant_weights(large, path, verbose=False)
    return large


CONTESTANTS: dict[str, Callable[[int], RealNet]] = {
    "transplant": lambda seed: into_large(taught(seed)),
    "transplant, untaught": lambda _: into_large(fresh(SMALL)),
    "large from scratch": lambda _: fresh(LARGE),
    "small from scratch": lambda _: fresh(SMALL),
    "small, taught": taught,
}
"""The transplant, and what it must be told from: weights without a skill, no weights, and the small network itself."""


def compete(name: str, seed: int) -> tuple[int, Figures]:
    """Updates until multiplication is learned (`MOST` where it is not), and the error at the end, as a share of the variance."""
    torch.manual_seed(seed)
    model = CONTESTANTS[name](seed)
    trainer, random = RealNetTrainer(model, lr=RATE), torch.Generator().manual_seed(seed)
    x_test = _numbers(torch.Generator().manual_seed(10**6), 512)
    y_test = x_test.prod(1, keepdim=True)
    for update in range(0, MOST + 1, EVERY):
        error = float(((trainer.predict(x_test, STEPS) - y_test) ** 2).mean() / y_test.var())
        if error <= SOLVED or update == MOST:
            break
        for _ in range(EVERY):
            x = _numbers(random, ROWS)
            trainer.train_batch(x, x.prod(1, keepdim=True), STEPS, as_tensor=True)
    return size(model), {"updates": float(update), "error at the end": error}


def _numbers(random: torch.Generator, rows: int) -> torch.Tensor:
    """Two numbers from -1 to 1 a row."""
    return 2 * torch.rand(rows, 2, generator=random) - 1
