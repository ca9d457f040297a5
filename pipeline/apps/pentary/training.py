"""What the command `pentary` does: samples, trainer, results."""

import argparse
from typing import Any

import numpy as np

from pipeline import io, rng
from pipeline.apps.pentary import samples
from pipeline.apps.pentary.folder import Samples
from pipeline.apps.pentary.losses import LOSSES
from pipeline.apps.pentary.model import PentaryModel
from pipeline.apps.pentary.multimodal import MultimodalFusion
from pipeline.apps.pentary.processors import AudioProcessor, ImageProcessor
from pipeline.apps.pentary.resume import History
from pipeline.apps.pentary.trainer import PentaryTrainer
from pipeline.data.digits import CLASSES, speech
from pipeline.errors import UserError

ELSEWHERE = ("config", "resume", "output_dir", "model_name", "save_model")
"""Options that do not change what is learned."""


def name_of(o: argparse.Namespace) -> str:
    """A model's name by what it is trained as: the same command has the same name, so that `--resume` finds it."""
    decisive = {key: str(value) for key, value in vars(o).items() if key not in ELSEWHERE}
    return f"pentary_model_{io.digest(decisive)[:8]}"


def synthetic(o: argparse.Namespace, modalities: list[str]) -> samples.Made:
    """Samples where no folder is named; `UserError` where there are too few, or where digits are to have other classes than ten."""
    if o.n_samples < 5 * o.output_dim:
        least = f"{o.output_dim} classes need at least {5 * o.output_dim}, of which a fifth is held out"
        raise UserError(f"--n-samples is {o.n_samples}: {least}")
    if not modalities:
        return samples.clusters(o.n_samples, o.input_dim, o.output_dim, o.seed)
    if o.output_dim != len(CLASSES):
        raise UserError(f"--output-dim is {o.output_dim}, but the synthetic samples are ten digits: name a folder by --data-dir, or say 10")
    return samples.digits(o.n_samples, modalities, o.seed)


def divided(all_of_them: Samples, every: int, seed: int) -> tuple[Samples, Samples]:
    """A folder's samples in random order, one of `every` held out, of each class at least one; `UserError` for a class of one sample."""
    y = all_of_them.y
    order = rng.generator(seed, "pentary", "held out")
    held_out = np.zeros(len(y), bool)
    import torch

    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        if len(rows) < 2:
            raise UserError(f"class {label} has only one sample: it takes two, one to learn from and one to be judged by")
        chosen = torch.randperm(len(rows), generator=order)[: max(1, len(rows) // every)].numpy()
        held_out[rows[chosen]] = True
    parts = (np.flatnonzero(~held_out), np.flatnonzero(held_out))
    made = [Samples(_rows(all_of_them.x, part), y[part], f"{len(part)} of {all_of_them.what}") for part in parts]
    return made[0], made[1]


def _rows(x: Any, rows: Any) -> Any:
    if isinstance(x, dict):
        return {name: _rows(column, rows) for name, column in x.items()}
    return x[rows] if isinstance(x, np.ndarray) else [x[row] for row in rows]


def trainer(o: argparse.Namespace, modalities: list[str], train: Samples) -> PentaryTrainer:
    """The trainer that the options ask for."""
    fusion, width = None, o.input_dim
    if modalities:
        made = o.data_dir is None
        image = ImageProcessor((8, 8), channels=1) if made else ImageProcessor()
        audio = AudioProcessor(speech.RATE if made else o.sample_rate)
        fusion = MultimodalFusion(modalities, o.fusion_method, image=image, audio=audio, seed=o.seed)
        width = fusion.get_output_shape()[0]
    elif train.x.shape[1] != o.input_dim:
        found = train.x.shape[1]
        raise UserError(f"--input-dim is {o.input_dim}, but the samples have {found} features: say --input-dim {found}")
    model = PentaryModel(width, o.output_dim, o.hidden_dims, seed=o.seed)
    loss, optimizer = LOSSES[o.loss], o.optimizer
    return PentaryTrainer(model, loss, optimizer, o.learning_rate, fusion=fusion, seed=o.seed, distillation=o.distillation)


def finish(o: argparse.Namespace, name: str, trained: PentaryTrainer, history: History) -> None:
    """Print the last epoch's figures, and write the history and, if asked for, the model in both formats."""
    print(f"held out, at five levels: loss {history['val_loss'][-1]:.4f}, {history['val_acc'][-1]:.1%} right")
    path = o.output_dir / f"{name}_history.json"
    io.write_json(path, history)
    print(f"history in {path}")
    if o.save_model:
        trained.save_model(o.output_dir / f"{name}.json")
        trained.save_model(o.output_dir / name)
        weights = sum(parameter.numel() for parameter in trained.module.quantizable().values())
        bits = 8 * (o.output_dir / name / "model.safetensors").stat().st_size / weights
        print(
            f"model in {path.with_name(name)}.json, and packed in {path.with_name(name)}: {weights:,} weights, {bits:.2f} bits each on disk"
        )
