"""A training's event log without the training: as many figures as a real one, which a sink brings into MLflow while they are written.

python -m tests.servers.writer NUMBER
"""

import sys
import time
from pathlib import Path

from pipeline import io
from pipeline.tracking import open_log

STEPS = range(5, 1001, 5)
FIGURES = (
    "train/loss",
    "train/learning_rate",
    "train/gradient_norm",
    "train/tokens_per_second",
    "validation/loss",
    "validation/bits_per_byte",
)
PAUSE = 0.02
"""Seconds between two steps, so that the ten are at it together."""


def value(number: int, figure: str, step: int) -> float:
    """What a run logs, told from any other run's by its value."""
    return number + FIGURES.index(figure) / 8 + step / 4096


def key(number: int) -> str:
    return f"{number:04d}" * 4


def main(number: int) -> None:
    name = f"model{number}"
    with open_log("train", name, {"seed": number, f"models.{name}.training": {"steps": STEPS[-1], "learning_rate": 0.001 * number}}) as log:
        log.run(key(number))
        for step in STEPS:
            log.metrics({figure: value(number, figure, step) for figure in FIGURES}, step)
            time.sleep(PAUSE)
        metrics = Path(f"metrics/{name}/train.json")
        io.write_json(metrics, {"parameters": 1000 + number})
        log.published([metrics])


if __name__ == "__main__":
    main(int(sys.argv[1]))
