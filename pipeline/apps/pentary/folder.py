"""The document's data folder: labels.npy, and text.json, images.npy, audio.npy as far as they are asked for; features.npy without
modalities.

labels.npy holds class numbers [N]; text.json a list of N texts; images.npy [N, H, W, C] or [N, C, H, W], uint8 or floats from 0 to 1;
audio.npy [N, samples], floats from -1 to 1. The document has no file for a model that is not multimodal, and its own command crashes there:
features.npy, floats [N, F], is that file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline import io
from pipeline.apps.pentary.processors import channels_first
from pipeline.errors import UserError

Array = npt.NDArray[Any]
LABELS, FEATURES = "labels.npy", "features.npy"
FILES = {"text": "text.json", "image": "images.npy", "audio": "audio.npy"}


class Samples(NamedTuple):
    """x: {modality: N samples}, or features [N, F]; y: class numbers int64 [N]; what they are, in words."""

    x: Any
    y: Array
    what: str


def read(folder: Path, modalities: Sequence[str], classes: int) -> Samples:
    """The samples of a folder, `modalities` of them or (for none) its features; `UserError` names the file that is missing or wrong."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name one that has {LABELS} and the modalities' files")
    y = _labels(folder / LABELS, classes)
    if not modalities:
        x: Any = _features(folder / FEATURES)
        _as_many(folder / FEATURES, len(x), len(y))
        return Samples(x, y, f"{len(y)} rows of {folder / FEATURES}")
    x = {}
    for name in modalities:
        path = folder / FILES[name]
        x[name] = READERS[name](path)
        _as_many(path, len(x[name]), len(y))
    return Samples(x, y, f"{len(y)} samples of {', '.join(FILES[name] for name in modalities)} in {folder}")


def _labels(path: Path, classes: int) -> Array:
    y = _array(path)
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer) or len(y) == 0:
        raise UserError(f"{path} holds {y.dtype} {list(y.shape)}: give class numbers, whole and in one row")
    wrong = (y < 0) | (y >= classes)
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(
            f"{path}: label {row} is {y[row]}, but the model has the classes 0 to {classes - 1}: correct it, or raise --output-dim"
        )
    absent = sorted(set(range(classes)) - set(y.tolist()))
    if absent:
        raise UserError(f"{path} has no sample of class {absent[0]}, of the classes 0 to {classes - 1}: add some, or lower --output-dim")
    return y.astype(np.int64)


def _features(path: Path) -> Array:
    if not path.is_file():
        raise UserError(f"{path} is missing: put features [N, input_dim] there, or say --multimodal and --modalities")
    x = _array(path)
    if x.ndim != 2 or not np.issubdtype(x.dtype, np.number) or not np.isfinite(x).all():
        raise UserError(f"{path} holds {x.dtype} {list(x.shape)}: give finite numbers [N, input_dim]")
    return x.astype(np.float32)


def _texts(path: Path) -> list[str]:
    try:
        texts = io.parse_json(path.read_bytes())
    except FileNotFoundError:
        raise _missing(path) from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON in UTF-8 ({error}): write a list of texts") from None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UserError(f'{path} is not a list of texts: write ["first text", "second text", ...]')
    return texts


def _images(path: Path) -> Array:
    x = _array(path)
    if x.ndim != 4 or x.size == 0:
        raise UserError(f"{path} holds {list(x.shape)}: give images [N, height, width, channels] or [N, channels, height, width]")
    try:
        channels_first(x[:1])
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    floats = np.issubdtype(x.dtype, np.floating)
    if x.dtype != np.uint8 and not (floats and float(x.min()) >= 0 and float(x.max()) <= 1):
        span = f" from {x.min()} to {x.max()}" if np.issubdtype(x.dtype, np.number) else ""
        raise UserError(f"{path} holds {x.dtype}{span}: give uint8 from 0 to 255, or floats from 0 to 1")
    return x


def _audio(path: Path) -> Array:
    x = _array(path)
    if x.ndim != 2 or x.size == 0 or not np.issubdtype(x.dtype, np.floating):
        raise UserError(f"{path} holds {x.dtype} {list(x.shape)}: give floats [N, samples of each recording]")
    if not float(np.abs(x).max()) <= 1:
        raise UserError(f"{path} holds numbers that are not from -1 to 1: divide recordings by their largest possible value")
    return x


READERS: dict[str, Any] = {"text": _texts, "image": _images, "audio": _audio}


def _array(path: Path) -> Array:
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)  # which holds a header's sizes against the file's before memory is taken
        return np.array(mapped)
    except FileNotFoundError:
        raise _missing(path) from None
    except Exception as error:  # a damaged header is read by Python's own parser, which raises what it likes
        raise UserError(f"{path} is not an array of numbers in NumPy's format ({error}): write it by numpy.save") from None


def _missing(path: Path) -> UserError:
    return UserError(f"{path} is missing: add it, or leave its modality out of --modalities")


def _as_many(path: Path, count: int, labels: int) -> None:
    if count != labels:
        raise UserError(f"{path} has {count} samples, but {LABELS} has {labels}: there must be as many")
