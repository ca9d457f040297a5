"""Spectrograms on the mel scale: what a recording looks like to a network."""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data.digits.waves import Samples

FRAMES, BANDS = 32, 32
WINDOW, HOP = 0.032, 0.008
"""Seconds of a frame, and between two."""
LOWEST, HIGHEST = 60.0, 4000.0
"""Of the filters, in hertz."""
FLOOR = 70.0
"""Decibels below the loudest that count as silence."""
MIDDLE, SPREAD = 105, 30
"""Level of a recording's mean, and levels of a deviation from it."""
TOP = 2 * MIDDLE
"""The highest level."""

Levels = npt.NDArray[np.uint8]


def levels(samples_N: Samples, rate: int) -> Levels:
    """uint8 [FRAMES, BANDS]: log mel power against the recording's own mean and deviation, stretched in time to `FRAMES` frames.

    So neither loudness nor a room's noise floor moves or shrinks what the digit is made of; silence is `MIDDLE` throughout. Frames are Hann
    windows; filters are triangles of equal height on the HTK mel scale (transformers' `mel_filter_bank`).
    """
    size, hop = round(WINDOW * rate), round(HOP * rate)
    padded = np.pad(samples_N.astype(np.float64), (size // 2, size // 2 + max(0, size - len(samples_N))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    power_TK = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2
    power_TM = power_TK @ _filters(rate, size)
    decibels_TM = 10 * np.log10(np.maximum(power_TM / max(float(power_TM.max()), 1e-12), 10 ** (-FLOOR / 10)))
    places = np.linspace(0, len(decibels_TM) - 1, FRAMES)
    low = np.minimum(places.astype(int), max(0, len(decibels_TM) - 2))
    high, share = np.minimum(low + 1, len(decibels_TM) - 1), (places - low)[:, None]
    stretched = decibels_TM[low] * (1 - share) + decibels_TM[high] * share
    deviations = (stretched - stretched.mean()) / max(float(stretched.std()), 1.0)
    return np.asarray(MIDDLE + SPREAD * deviations).round().clip(0, TOP).astype(np.uint8)


@functools.lru_cache(maxsize=4)
def _filters(rate: int, size: int) -> npt.NDArray[Any]:
    from transformers.audio_utils import mel_filter_bank

    bins, highest = size // 2 + 1, min(HIGHEST, rate / 2)
    filters: npt.NDArray[Any] = mel_filter_bank(bins, BANDS, LOWEST, highest, rate, norm=None, mel_scale="htk")
    return filters
