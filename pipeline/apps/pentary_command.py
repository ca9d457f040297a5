"""`python -m pipeline pentary`: the document's training script, option by option, and what it lacked.

Outside of its library, so that `--help` imports nothing heavy; by argparse, since the document writes lists as `--hidden-dims 64 32`.
Without --data-dir the samples are synthetic, and say so; their labels can be learned, where the document's were random. Without
--multimodal a folder needs features.npy.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

STATE = ".training"
"""Folder inside the output folder for the checkpoints of trainings that are not done."""
METHODS = ("concat", "add", "multiply", "gated", "attention")
HELD_OUT = 5
"""One of so many samples of a folder is held out."""


def parser() -> argparse.ArgumentParser:
    """The options and their defaults, which are the document's where it has any."""
    made = argparse.ArgumentParser(
        "python -m pipeline pentary",
        description="Train a network whose weights have five levels.",
        epilog="Example: python -m pipeline pentary --multimodal --modalities text image audio --epochs 20 --save-model",
    )
    model = made.add_argument_group("model")
    model.add_argument("--input-dim", type=int, default=512, help="features of a sample, without --multimodal (default: %(default)s)")
    model.add_argument("--output-dim", type=int, default=10, help="classes (default: %(default)s)")
    model.add_argument("--hidden-dims", type=int, nargs="+", default=[128, 64], help="widths of the hidden layers (default: 128 64)")
    training = made.add_argument_group("training")
    training.add_argument("--epochs", type=int, default=10, help="times to go through the samples (default: %(default)s)")
    training.add_argument("--batch-size", type=int, default=32, help="samples a step (default: %(default)s)")
    training.add_argument("--learning-rate", type=float, default=0.01, help="at its highest (default: %(default)s)")
    training.add_argument("--loss", choices=("mse", "cross_entropy"), default="cross_entropy", help="default: %(default)s")
    training.add_argument(
        "--optimizer", choices=("sgd", "momentum", "adam", "adamw", "rmsprop"), default="adam", help="default: %(default)s"
    )
    training.add_argument("--distillation", type=float, default=0.0, help="share of the loss that the float model teaches (default: 0)")
    training.add_argument("--seed", type=int, default=0, help="of weights, order and synthetic samples (default: 0)")
    training.add_argument("--resume", action="store_true", help="go on with the same training where it was stopped")
    several = made.add_argument_group("several modalities")
    several.add_argument("--multimodal", action="store_true", help="learn from texts, images and recordings")
    kinds = ("text", "image", "audio")
    several.add_argument("--modalities", nargs="+", choices=kinds, default=["text", "image"], help="default: text image")
    several.add_argument("--fusion-method", choices=METHODS, default="concat", help="default: %(default)s")
    several.add_argument("--sample-rate", type=int, default=16000, help="of audio.npy, in hertz (default: %(default)s)")
    data = made.add_argument_group("data")
    data.add_argument("--data-dir", type=Path, help="folder with labels.npy, and text.json, images.npy, audio.npy or features.npy")
    data.add_argument("--n-samples", type=int, default=1000, help="synthetic samples, without a folder (default: %(default)s)")
    output = made.add_argument_group("output")
    output.add_argument("--output-dir", type=Path, default=Path("models"), help="default: %(default)s")
    output.add_argument("--model-name", help="default: named by the options")
    output.add_argument("--save-model", action="store_true", help="write NAME.json (the document's format) and NAME/ (packed)")
    made.add_argument("--config", type=Path, help='JSON file of options by their names, such as {"hidden_dims": [64, 32]}')
    return made


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line over those of its --config; `UserError` for a file that cannot be read or has an unknown option."""
    made = parser()
    found = made.parse_args(arguments)
    if found.config is not None:
        made.set_defaults(**_configured(made, found.config))
        found = made.parse_args(arguments)
    for name in ("input_dim", "output_dim", "epochs", "batch_size", "n_samples", *(["sample_rate"] if found.multimodal else [])):
        if getattr(found, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(found, name)}: it must be at least 1")
    return found


def _configured(made: argparse.ArgumentParser, path: Path) -> dict[str, Any]:
    from pipeline import io

    values = io.read_json(path)
    known = {action.dest: action for action in made._actions if action.dest not in ("help", "config")}
    if not isinstance(values, dict):
        raise UserError(f'{path} is no JSON object of options: write such as {{"epochs": 20}}')
    read = {}
    for key, value in values.items():
        if key not in known:
            raise UserError(f"{path}: {key} is no option: known are {', '.join(sorted(known))}")
        flag = known[key].nargs == 0
        words = [str(one) for one in value] if isinstance(value, list) else [str(value)]
        if flag and not isinstance(value, bool):
            raise UserError(f"{path}: {key} = {value!r} must be true or false")
        read[key] = value if flag else getattr(made.parse_args([known[key].option_strings[0], *words]), key)
    return read


def run(arguments: Sequence[str]) -> None:
    """Train as a command line says, print what came out, and write the model and its history."""
    o = options(arguments)
    from pipeline.apps.pentary import folder, training

    modalities = list(o.modalities) if o.multimodal else []
    name = o.model_name or training.name_of(o)
    state = o.output_dir / STATE / name
    if not o.resume:
        shutil.rmtree(state, ignore_errors=True)
    if o.data_dir is not None:
        train, held_out = training.divided(folder.read(o.data_dir, modalities, o.output_dim), HELD_OUT, o.seed)
    else:
        train, held_out = training.synthetic(o, modalities)
    trainer = training.trainer(o, modalities, train)
    print(f"learns from {train.what}\nis judged by {held_out.what}")
    history = trainer.train((train.x, train.y), (held_out.x, held_out.y), o.epochs, o.batch_size, checkpoints=state)
    shutil.rmtree(state, ignore_errors=True)
    training.finish(o, name, trainer, history)


__all__ = ["options", "parser", "run"]
