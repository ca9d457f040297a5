"""What the library's figures are measured on: scikit-learn's handwritten digits, and a set of large samples to prepare."""

import copy
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.optim import AdamW

from pipeline.apps.pentary.losses import LossFunction
from pipeline.apps.pentary.model import PentaryModel
from pipeline.apps.pentary.multimodal import MODALITIES, MultimodalFusion
from pipeline.apps.pentary.trainer import PentaryTrainer
from pipeline.models.pentary.network import Network
from pipeline.quantization import grid

NETWORKS = {"64-128-64-10": (128, 64), "64-16-10": (16,)}
EPOCHS = 30
"""In float, and again at five levels."""
HELD_OUT = 360
"""Of 1,797 images."""
SMOOTHING, DECAY = 0.1, 0.1
"""Share of a label that goes to all classes alike (Szegedy et al. 2016, arXiv:1512.00567), and AdamW's weight decay."""


class Accuracy(NamedTuple):
    """Shares of held-out digits that are right."""

    in_float: float
    largest: float
    """The float model rounded by the document's rule: one scale a tensor, half of its largest weight, biases too."""
    rounded: float
    """The float model rounded with the scale of least squared error for each row."""
    five_levels: float
    """The same, trained on at five levels for as many epochs again."""


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
        adamw = partial(AdamW, weight_decay=DECAY)
        trainer = PentaryTrainer(model, LossFunction.cross_entropy_loss, adamw, seed=seed, float_share=1.0)
        data, held_out = (x[learned], rows[learned]), (x[judged], labels[judged])
        trainer.train(data, epochs=EPOCHS, verbose=False)
        in_float, largest, rounded = (_accuracy(model.network, rule, *held_out) for rule in (_as_it_is, _by_largest, _by_least_error))
        trainer.train(data, epochs=EPOCHS, verbose=False)
        found.append(Accuracy(in_float, largest, rounded, trainer.validate(*held_out)[1]))
    return found


@torch.no_grad()
def _accuracy(network: Network, rule: Callable[[Tensor], Tensor], x: Any, y: Any) -> float:
    """Of a plain network whose weights a rule has rounded."""
    copied = copy.deepcopy(network).eval()
    for parameter in copied.parameters():
        parameter.copy_(rule(parameter))
    return float((copied(torch.as_tensor(x)).argmax(1) == torch.as_tensor(y)).float().mean())


def _as_it_is(weights: Tensor) -> Tensor:
    return weights


def _by_largest(weights: Tensor) -> Tensor:
    scale = weights.abs().max() / 2
    return (weights / scale).clamp(-2, 2).round() * scale if scale > 0 else weights


def _by_least_error(weights: Tensor) -> Tensor:
    if weights.dim() == 1:
        return weights
    found, scale = grid.quantize(weights)
    return found * scale.float()[:, None]


def show(seeds: int) -> None:
    """Print the table of accuracies."""
    table = Table(title=f"scikit-learn's digits, {HELD_OUT} of 1,797 held out, {seeds} seeds: mean (lowest-highest), %")
    for column in ("network", "float", "rounded as the document does", "rounded, a scale a row", "trained at five levels"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for name, hidden_dims in NETWORKS.items():
        columns = zip(*digits(hidden_dims, range(seeds)), strict=True)
        table.add_row(name, *(f"{100 * statistics.mean(c):.2f} ({100 * min(c):.1f}-{100 * max(c):.1f})" for c in columns))
    Console().print(table)


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
