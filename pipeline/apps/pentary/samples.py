"""Samples for trying the library out, without a folder of data: made of something that can be learned, and labelled synthetic."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline import rng
from pipeline.apps.pentary.folder import Samples
from pipeline.data.digits import CLASSES, speech
from pipeline.data.digits.raw import WORDS

Array = npt.NDArray[Any]
SPREAD = 3.0
"""Deviation of a feature from its class's mean, of which the deviation is 1."""
WORDS_AROUND = 6
VOICES = 40


class Made(NamedTuple):
    """Samples to learn from, and held-out ones that share no image and no voice with them."""

    train: Samples
    held_out: Samples


def clusters(count: int, width: int, classes: int, seed: int) -> Made:
    """Features [count, width]: a normal cloud around each class's mean; a fifth is held out."""
    stream = _stream(seed, "clusters")
    means = stream.standard_normal((classes, width))
    y = np.arange(count) % classes
    stream.shuffle(y)
    x = (means[y] + SPREAD * stream.standard_normal((count, width))).astype(np.float32)
    cut = count - count // 5
    what = f"synthetic samples of {classes} classes"
    return Made(Samples(x[:cut], y[:cut], f"{cut} {what}"), Samples(x[cut:], y[cut:], f"{count - cut} {what}"))


def digits(count: int, modalities: Sequence[str], seed: int) -> Made:
    """scikit-learn's handwritten digits, sentences with a number word, and synthetic speech; a fifth is held out."""
    held_out = count // 5
    return Made(_digits(count - held_out, modalities, seed, True), _digits(held_out, modalities, seed, False))


def _digits(count: int, modalities: Sequence[str], seed: int, train: bool) -> Samples:
    stream = _stream(seed, "digits", "train" if train else "held out")
    y = np.arange(count) % len(CLASSES)
    stream.shuffle(y)
    makers = {"text": _sentences, "image": _images, "audio": _recordings}
    x = {name: makers[name](y, stream, train) for name in modalities}
    kinds = {"text": "synthetic sentences", "image": "scikit-learn's images", "audio": "synthetic speech"}
    return Samples(x, y, f"{count} digits: {', '.join(kinds[name] for name in modalities)}")


def _sentences(y: Array, stream: np.random.Generator, train: bool) -> list[str]:
    texts = []
    for digit in y:
        words = [WORDS[k] for k in stream.integers(0, len(WORDS), WORDS_AROUND)]
        words.insert(int(stream.integers(0, WORDS_AROUND + 1)), CLASSES[digit])
        texts.append(" ".join(words))
    return texts


def _images(y: Array, stream: np.random.Generator, train: bool) -> Array:
    """uint8 [N, 8, 8, 1]; the last fifth of each class's images is held out."""
    from sklearn.datasets import load_digits

    data = load_digits()
    chosen = np.zeros(len(y), np.int64)
    for digit in range(len(CLASSES)):
        rows = np.flatnonzero(data.target == digit)
        cut = len(rows) - len(rows) // 5
        part = rows[:cut] if train else rows[cut:]
        mine = np.flatnonzero(y == digit)
        chosen[mine] = np.resize(stream.permutation(part), len(mine))
    return (data.images[chosen] * 255 / 16).round().astype(np.uint8)[..., None]


def _recordings(y: Array, stream: np.random.Generator, train: bool) -> list[Array]:
    """Recordings at `speech.RATE` by voices of which every fifth is held out."""
    voices = [speech.voice(_stream(0, "voice", i)) for i in range(VOICES) if (i % 5 > 0) == train]
    return [speech.say(int(digit), voices[int(stream.integers(len(voices)))], stream).astype(np.float32) for digit in y]


def _stream(seed: int, *names: str | int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(rng.derive(seed, "pentary", *names)))
