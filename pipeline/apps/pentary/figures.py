"""What the library's figures are measured on: scikit-learn's handwritten digits, and a set of large samples to prepare."""

import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from torch.optim import AdamW

from pipeline.apps.pentary.losses import LossFunction
from pipeline.apps.pentary.model import PentaryModel
from pipeline.apps.pentary.multimodal import MODALITIES, MultimodalFusion
from pipeline.apps.pentary.trainer import PentaryTrainer

NETWORKS = {"64-128-64-10": (128, 64), "64-16-10": (16,)}
EPOCHS = 60
HELD_OUT = 360
"""Of 1,797 images."""
SMOOTHING, DECAY = 0.1, 0.1
"""Share of a label that goes to all classes alike (Szegedy et al. 2016, arXiv:1512.00567), and AdamW's weight decay."""


class Accuracy(NamedTuple):
    """Shares of held-out digits that are right: of the float model before, and of the model at five levels."""

    in_float: float
    five_levels: float


def digits(hidden_dims: Sequence[int], seeds: Iterable[int]) -> list[Accuracy]:
    """Train and judge one model a seed, which decides the split, too. The last epoch counts: nothing is chosen by the held-out digits."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x, rows = (images / 16).astype(np.float32), (1 - SMOOTHING) * np.eye(10)[labels] + SMOOTHING / 10
    found = []
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(x))
        judged, learned = order[:HELD_OUT], order[HELD_OUT:]
        model = PentaryModel(64, 10, hidden_dims, seed=seed)
        trainer = PentaryTrainer(model, LossFunction.cross_entropy_loss, partial(AdamW, weight_decay=DECAY), seed=seed)
        history = trainer.train((x[learned], rows[learned]), (x[judged], labels[judged]), EPOCHS, verbose=False)
        floats = history["levels"].count("float")
        found.append(Accuracy(history["val_acc"][floats - 1], history["val_acc"][-1]))
    return found


def large_samples(count: int) -> dict[str, Any]:
    """Samples as large as the document's: sentences, colour images of 224 x 224, a second of sound at 16 kHz."""
    chance = np.random.default_rng(0)
    return {
        "text": [f"Sample text {i} with some content" for i in range(count)],
        "image": chance.integers(0, 256, (count, 224, 224, 3), dtype=np.uint8),
        "audio": chance.uniform(-1, 1, (count, 16000)).astype(np.float32),
    }


def seconds_to_prepare(count: int) -> float:
    """CPU time from raw samples of all modalities to the network's inputs, the tokenizer's training included."""
    samples, fusion = large_samples(count), MultimodalFusion(MODALITIES)
    start = time.process_time()
    fusion.fit(samples)
    fusion.inputs(samples)
    return time.process_time() - start
