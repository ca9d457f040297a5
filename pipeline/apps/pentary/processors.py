"""What makes numbers of one modality: texts to tokens, images of any size to pixels, recordings to mel spectrograms."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.data import tokenizers
from pipeline.data.digits import mel
from pipeline.data.tokenizers import Tokenizer
from pipeline.errors import UserError

Array = npt.NDArray[Any]
BYTES = 257
"""Tokens of a tokenizer that has learned nothing: one a byte, and the end of a text."""
CHUNK = 64
"""Images that are resized at a time: bounds the memory."""


class Processor(ABC):
    """N samples to features [N, size], from which the layers of `encoder` make [N, width]."""

    size: int
    width: int

    def fit(self, samples: Sequence[Any]) -> None:
        """Learn what is not the network's to learn from training samples: nothing, for most."""
        return

    @abstractmethod
    def features(self, samples: Any) -> Tensor:
        """float32 [N, size]; `UserError` for what cannot be read."""

    @abstractmethod
    def process(self, data: Any) -> Array:
        """One sample as a table for people and other programs."""

    def encoder(self) -> list[dict[str, Any]]:
        return [{"type": "identity"}]

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The arguments that make the same processor again."""


class TextProcessor(Processor):
    """Texts, in lower case, to at most `max_length` tokens, of which each has an embedding of `embedding_dim` numbers, learned by the
    network.

    `fit` trains the tokenizer, byte pairs of at most `vocab_size` tokens; before that a token is a byte. Both are saved with the model.
    """

    def __init__(self, vocab_size: int = 1024, max_length: int = 64, embedding_dim: int = 64) -> None:
        if vocab_size < BYTES or max_length < 1 or embedding_dim < 1:
            raise UserError(
                f"TextProcessor: vocab_size = {vocab_size} must be at least {BYTES}, and max_length and embedding_dim at least 1"
            )
        self.vocab_size, self.max_length, self.embedding_dim = vocab_size, max_length, embedding_dim
        self.size, self.width = max_length, embedding_dim
        self.tokenizer: Tokenizer = tokenizers.byte_pairs([], BYTES)

    def fit(self, samples: Sequence[Any]) -> None:
        """Train the tokenizer."""
        if samples:
            self.tokenizer = tokenizers.byte_pairs([_text(sample) for sample in samples], self.vocab_size)

    def features(self, samples: Any) -> Tensor:
        """Token ids raised by one, as floats [N, max_length]; 0 is padding."""
        padded = torch.zeros(len(samples), self.max_length)
        for i, ids in enumerate(self.tokenizer.encode_batch([_text(sample) for sample in samples])):
            cut = torch.as_tensor(ids[: self.max_length])
            padded[i, : len(cut)] = cut + 1
        return padded

    def process(self, data: str) -> Array:
        """Token ids raised by one, int64 [max_length]; 0 is padding."""
        return self.features([data])[0].long().numpy()

    def encoder(self) -> list[dict[str, Any]]:
        return [{"type": "tokenmean", "num_embeddings": self.vocab_size + 1, "embedding_dim": self.embedding_dim}]

    @property
    def settings(self) -> dict[str, Any]:
        return {"vocab_size": self.vocab_size, "max_length": self.max_length, "embedding_dim": self.embedding_dim}


def _text(sample: Any) -> str:
    if not isinstance(sample, str):
        raise UserError(f"{sample!r:.40} is no text: give a string")
    return sample.lower()


class ImageProcessor(Processor):
    """Images to `channels` x height x width, resized by area (antialiased bilinear) and normalized by the means of ImageNet.

    An image is [H, W], [H, W, C] or [C, H, W] with C of 1 or 3; which one is found out, and `UserError` where both could be and
    `channel_order` ("first" or "last") does not say. uint8 means 0 to 255. Floats from 0 to 1 are taken as they are, from 0 to 255 divided
    by 255; where some are negative, as in the document's own example, they are taken for normalized ones, and only resized.
    """

    MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, target_size: Sequence[int] = (32, 32), channels: int = 3, channel_order: str | None = None) -> None:
        if channels not in (1, 3) or channel_order not in (None, "first", "last") or min(target_size) < 1:
            raise UserError(f"ImageProcessor: channels = {channels} must be 1 or 3, channel_order = {channel_order!r} first, last or None")
        height, width = target_size
        self.target_size, self.channels, self.channel_order = (height, width), channels, channel_order
        self.size = self.width = channels * height * width

    def features(self, samples: Any) -> Tensor:
        """Normalized pixels [N, channels x height x width]."""
        if isinstance(samples, np.ndarray) and samples.dtype != object:
            scale, normalized = value_range(samples)
            batches = [samples[i : i + CHUNK] for i in range(0, len(samples), CHUNK)]
            return torch.cat([self._resized(batch, scale, normalized).flatten(1) for batch in batches])
        single = [np.asarray(sample) for sample in samples]
        return torch.cat([self._resized(image[None], *value_range(image)).flatten(1) for image in single])

    def process(self, data: Any) -> Array:
        """One image as [channels, height, width]."""
        return self.features([data])[0].view(self.channels, *self.target_size).numpy()

    def _resized(self, images: Array, scale: float, normalized: bool) -> Tensor:
        x_NCHW = channels_first(images, self.channel_order)
        mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (self.MEAN, self.DEVIATION))
        small = F.interpolate(x_NCHW.float() / scale, self.target_size, mode="bilinear", antialias=True, align_corners=False)
        if self.channels == 1:
            small, mean, deviation = small.mean(1, keepdim=True), mean.mean(0, keepdim=True), deviation.mean(0, keepdim=True)
        elif small.shape[1] == 1:
            small = small.expand(-1, 3, -1, -1)
        return small if normalized else (small - mean) / deviation

    @property
    def settings(self) -> dict[str, Any]:
        return {"target_size": list(self.target_size), "channels": self.channels, "channel_order": self.channel_order}


def channels_first(images: Array, order: str | None = None) -> Tensor:
    """[N, H, W], [N, H, W, C] or [N, C, H, W] as [N, C, H, W], C of 1 or 3, in the given type.

    `UserError` for what is none or could be both.
    """
    x = torch.as_tensor(np.ascontiguousarray(images))
    if x.dim() == 3:
        return x[:, None]
    ends = {"first": x.shape[1], "last": x.shape[3]} if x.dim() == 4 else {}
    possible = [name for name, size in ends.items() if size in (1, 3) and order in (None, name)]
    if len(possible) != 1:
        shape = list(x.shape[1:])
        remedy = "say channel_order='first' or 'last'" if possible else "give [H, W], [H, W, C] or [C, H, W] with 1 or 3 channels"
        raise UserError(f"an image of shape {shape} {'could have its channels first or last' if possible else 'is none'}: {remedy}")
    return x if possible == ["first"] else x.permute(0, 3, 1, 2)


def value_range(images: Array) -> tuple[float, bool]:
    """What to divide pixels by to have them from 0 to 1, and whether they were normalized before (see `ImageProcessor`); `UserError`."""
    if images.dtype == np.uint8:
        return 255.0, False
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(f"images are {images.dtype}: give uint8 from 0 to 255, or floats")
    low, high = (float(images.min()), float(images.max())) if images.size else (0.0, 0.0)
    if not np.isfinite(low + high):
        raise UserError("an image holds a number that is not finite: repair it")
    return 255.0 if low >= 0 and high > 1 else 1.0, low < 0


class AudioProcessor(Processor):
    """Recordings of `sample_rate`, in [-1, 1], to a log mel spectrogram of 32 times and 32 bands, whatever their length and loudness.

    `pipeline.data.digits.mel`: Hann windows of 32 ms, filters by transformers' `mel_filter_bank`. Several channels are averaged.
    """

    def __init__(self, sample_rate: int = 16000) -> None:
        if sample_rate < 2 * mel.LOWEST:
            raise UserError(f"AudioProcessor: sample_rate = {sample_rate} must be at least {2 * mel.LOWEST:.0f} hertz")
        self.sample_rate = sample_rate
        self.size = self.width = mel.FRAMES * mel.BANDS

    def features(self, samples: Any) -> Tensor:
        """Levels from -1 (silence) to 1 (the loudest) [N, 32 x 32]."""
        return torch.stack([torch.as_tensor(self.process(sample)).flatten() for sample in samples])

    def process(self, data: Any) -> Array:
        """One recording [samples], or [samples, channels], as [32 times, 32 bands]."""
        wave = np.asarray(data, dtype=np.float32)
        wave = wave.mean(1) if wave.ndim == 2 else wave
        if wave.ndim != 1 or len(wave) == 0 or not np.isfinite(wave).all():
            raise UserError(f"a recording of shape {list(np.shape(data))} is none: give finite numbers [samples] or [samples, channels]")
        return mel.levels(wave, self.sample_rate).astype(np.float32) * (2 / mel.TOP) - 1

    @property
    def settings(self) -> dict[str, Any]:
        return {"sample_rate": self.sample_rate}
