"""PentaryTrainer: epochs in float, then epochs at five levels (LSQ), on plain torch; resumable, and the same from the same seed."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline import rng
from pipeline.apps.pentary import directory, layers
from pipeline.apps.pentary.learner import OPTIMIZERS, Figures, Learner, Loss, judge
from pipeline.apps.pentary.losses import LossFunction
from pipeline.apps.pentary.model import PentaryModel
from pipeline.apps.pentary.multimodal import MultimodalFusion, MultimodalModel
from pipeline.apps.pentary.resume import Checkpoints, History, training_key
from pipeline.errors import UserError
from pipeline.progress import say

Data = tuple[Any, Any]
SHOWN = {"train_loss": "loss", "train_acc": "accuracy", "val_loss": "held-out loss", "val_acc": "held-out accuracy"}


class PentaryTrainer:
    """Trains a PentaryModel where it is.

    loss_fn: of `LossFunction`, or any function of outputs and targets. optimizer: a name of `OPTIMIZERS` or a function of parameters and
    `lr`; its rate falls by half a cosine in each of the two phases. use_multimodal, modalities: then data are samples of these modalities,
    which a `fusion` (by default MultimodalFusion(modalities)) turns into the model's inputs, and which learns with it. seed: of the order
    of the samples. float_share: the share of the epochs that learns in float before the rest learns at five levels; distillation: the
    share of the loss that is then the divergence from the float model. modality_dropout: the probability that an epoch hides a modality of
    a sample, so that any subset can be asked for later. device: cpu alone. `UserError` for what cannot be.

    The document gives no optimizer, and its trainer ignored the one it was given: here it is Adam. Its loss by default was the squared
    error, its command's the cross-entropy, and its examples are classifications: here it is the cross-entropy.
    """

    def __init__(
        self,
        model: PentaryModel,
        loss_fn: Loss = LossFunction.cross_entropy_loss,
        optimizer: str | Callable[..., torch.optim.Optimizer] = "adam",
        learning_rate: float = 0.01,
        use_multimodal: bool = False,
        modalities: Sequence[str] | None = None,
        *,
        fusion: MultimodalFusion | None = None,
        seed: int = 0,
        float_share: float = 0.5,
        distillation: float = 0.0,
        modality_dropout: float = 0.2,
        device: str = "cpu",
    ) -> None:
        if device != "cpu":
            raise UserError(
                f"PentaryTrainer: device {device!r} is not known: it trains on cpu; for cuda train a model of the family pentary of "
                "params.yaml, with training.device: cuda"
            )
        if isinstance(optimizer, str) and optimizer not in OPTIMIZERS:
            raise UserError(f"PentaryTrainer: optimizer {optimizer!r} is none of {', '.join(OPTIMIZERS)}")
        shares = {"float_share": float_share, "distillation": distillation, "modality_dropout": modality_dropout}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise UserError(f"PentaryTrainer: {name} = {share!r} must be from 0 to 1")
        if use_multimodal and fusion is None:
            fusion = MultimodalFusion(modalities or [], seed=seed)
        self.model, self.fusion, self.loss_fn, self.seed, self.float_share = model, fusion, loss_fn, seed, float_share
        self.modality_dropout = modality_dropout
        self.module: Any = MultimodalModel(fusion, model) if fusion is not None else model
        build = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer
        self.learner = Learner(self.module, loss_fn, build, learning_rate, distillation)
        self.history: History = {name: [] for name in (*SHOWN, "levels")}

    def train(
        self,
        train_data: Data,
        val_data: Data | None = None,
        epochs: int = 10,
        batch_size: int = 32,
        verbose: bool = True,
        *,
        checkpoints: Path | None = None,
    ) -> History:
        """Learn from (x, y); returns the history, a value an epoch, which goes on where an earlier call of `train` ended.

        x is [N, input_dim], or for a multimodal trainer what `MultimodalFusion.inputs` takes; y is class numbers [N] or rows [N,
        output_dim]. History's `levels` says whether an epoch learned in "float" or at "5" levels; accuracies are shares. A second call on
        a trained model stays at five levels. With a folder `checkpoints` each epoch is kept there, and a training of the same data and
        settings that was stopped goes on. `UserError` for data that do not fit, and where the loss is not finite.
        """
        if epochs < 1 or batch_size < 1:
            raise UserError(f"PentaryTrainer: epochs = {epochs} and batch_size = {batch_size} must be at least 1")
        done = len(self.history["levels"])
        if self.fusion is not None and not done:
            self.fusion.fit(train_data[0])
        x, y = self.read(train_data)
        judged = None if val_data is None else self.read(val_data)
        floats = 0 if done or epochs == 1 else round(self.float_share * epochs)
        settings = [self.seed, self.float_share, self.modality_dropout, self.learner.share, self.learner.rate, epochs, batch_size]
        kept = Checkpoints(checkpoints, training_key(settings, x, y)) if checkpoints is not None else None
        with kept.locked() if kept else nullcontext():
            for epoch in range(self._begin(kept, floats), epochs):
                if epoch == floats > 0:
                    self._switch()
                first, last = (0, floats) if epoch < floats else (floats, epochs)
                order = torch.randperm(len(x), generator=rng.generator(self.seed, "pentary", "order", done + epoch))
                shown, batches = self._shown(x, done + epoch), order.split(batch_size)
                figures = self.learner.epoch(shown, y, batches, (epoch - first) / (last - first), 1 / (last - first))
                self._note(figures, None if judged is None else judge(self.module, self.loss_fn, *judged), epoch < floats)
                if verbose:
                    say(f"epoch {epoch + 1}/{epochs}: {self._last()}")
                if kept:
                    kept.save(epoch + 1, self.module, self.learner.optimizer, self.learner.teacher, self.history)
            self.learner.teacher = None
            self.module.eval()
            if kept:
                kept.remove()
        return self.history

    def train_step(self, x: Any, y: Any) -> Figures:
        """One step of the optimizer at the model's present levels: (loss, accuracy) before it."""
        inputs, targets = self.read((x, y))
        loss, correct = self.learner.step(inputs, targets)
        return float(loss), float(correct) / len(targets)

    def validate(self, x: Any, y: Any) -> Figures:
        """(loss, accuracy) of the model as it computes now."""
        return judge(self.module, self.loss_fn, *self.read((x, y)))

    def save_model(self, filepath: str | Path) -> None:
        """Write the model at five levels: the document's JSON for a name that ends in .json, else a packed directory (`directory`)."""
        directory.save(self.model, Path(filepath), self.fusion)

    def load_model(self, filepath: str | Path) -> None:
        """Put what `save_model` (or the document's own tool, as JSON) wrote into `model`, sizes and all.

        `UserError` as `directory.load`.
        """
        network, head, fusion = directory.load(Path(filepath))
        self.model.replace(network, head["input_dim"], head["output_dim"], head["hidden_dims"])
        self.fusion = fusion or self.fusion
        self.module = MultimodalModel(self.fusion, self.model) if self.fusion is not None else self.model
        self.learner.module = self.module
        self.learner.restart()
        self.history = {name: [] for name in self.history}

    def read(self, data: Data) -> tuple[Tensor, Tensor]:
        """Inputs [N, F] float32 and targets [N] int64 or [N, output_dim] float32 of (x, y); `UserError` where they do not fit the model."""
        x, y = data
        if self.fusion is not None and (isinstance(x, Mapping) or (isinstance(x, Sequence) and x and isinstance(x[0], Mapping))):
            inputs = self.fusion.inputs(x)
        else:
            inputs = torch.as_tensor(np.asarray(x), dtype=torch.float32)
            if inputs.dim() != 2 or inputs.shape[1] != self.model.input_dim:
                raise UserError(f"the samples are {list(inputs.shape)}, but the model takes [N, {self.model.input_dim}]: reshape them")
        return inputs, targets_of(y, len(inputs), self.model.output_dim)

    def _shown(self, x: Tensor, number: int) -> Tensor:
        """What an epoch sees of the inputs."""
        if self.fusion is None or x.shape[1] != self.fusion.features or len(self.fusion.modalities) == 1:
            return x
        return self.fusion.hide(x, self.modality_dropout, rng.generator(self.seed, "pentary", "hidden", number))

    def _begin(self, kept: Checkpoints | None, floats: int) -> int:
        """Make ready for the first epoch, or go on from the last one that was kept; returns how many are done."""
        done = kept.done() if kept else 0
        if floats:
            layers.to_float(self.module)
        else:
            self._to_five_levels()
        self.learner.restart()
        if kept and done:
            if done > floats > 0:
                self._switch()
            self.history = kept.restore(self.module, self.learner.optimizer, self.learner.teacher)
            say(f"going on after epoch {done}")
        return done

    def _switch(self) -> None:
        """From float to five levels: batch norms are folded, and the float model teaches if it should."""
        if self.learner.share:
            self.learner.teacher = layers.dense(self.module).eval().requires_grad_(False)
        self.model.fold()
        self._to_five_levels()
        self.learner.restart()

    def _to_five_levels(self) -> None:
        layers.to_five_levels(self.module, self.model.mask_width, self.model.bias_levels)

    def _note(self, figures: Figures, judged: Figures | None, in_float: bool) -> None:
        if not math.isfinite(figures[0]):
            raise UserError(f"the loss is {figures[0]}: lower learning_rate = {self.learner.rate}")
        row = {"train_loss": figures[0], "train_acc": figures[1], "levels": "float" if in_float else "5"}
        if judged is not None:
            row |= {"val_loss": judged[0], "val_acc": judged[1]}
        for name, value in row.items():
            self.history[name].append(value)

    def _last(self) -> str:
        shown = [f"{text} {self.history[name][-1]:.4f}" for name, text in SHOWN.items() if self.history[name]]
        return f"{', '.join(shown)} ({'float' if self.history['levels'][-1] == 'float' else 'five levels'})"


def targets_of(y: Any, samples: int, classes: int) -> Tensor:
    """Labels checked against the number of samples and classes: int64 [N], or float32 [N, classes]; `UserError`."""
    labels = np.asarray(y)
    if labels.shape[:1] != (samples,) or samples == 0:
        raise UserError(f"there are {samples} samples, and labels {list(labels.shape)}: there must be as many, and at least one")
    if labels.ndim == 2 and labels.shape[1] == classes:
        return torch.as_tensor(labels, dtype=torch.float32)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"labels are {labels.dtype} {list(labels.shape)}: give whole numbers [{samples}] or rows [{samples}, {classes}]")
    if labels.min() < 0 or labels.max() >= classes:
        wrong = int(labels[(labels < 0) | (labels >= classes)][0])
        raise UserError(f"a label is {wrong}, but the model has the classes 0 to {classes - 1}: correct it, or raise output_dim")
    return torch.as_tensor(labels.astype(np.int64))
