"""Synthetic spoken digits: a harmonic source and noise through moving formants. They stand for speech where none may be downloaded.

Not speech: voices differ in pitch, length of the vocal tract, tempo and noise, so that a held-out voice is a test of something, but of
less than a person. Formants of vowels are Peterson and Barney's (1952) means for men; the other sounds are rough.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.data.digits import CLASSES, stream, waves
from pipeline.data.documents import Document
from pipeline.data.sources import Fetched
from pipeline.schema.data import SyntheticAudio

Signal = npt.NDArray[np.float64]

RATE = 8000
STEP = 40
"""Samples between two values of a track."""
BANDWIDTH = 90.0
"""Of a formant, in hertz."""
TRACT, ACCENT, ROOM, PAUSE = 0.1, 0.06, 1.0, 0.12
"""At variety 1: share by which all formants of a voice differ at most, and deviation of each alone; what is added to the noise, as a share
of it; seconds of silence on either side, at most."""


class Sound(NamedTuple):
    """Seconds, three formants, loudness of the voice, loudness of noise, and the noise's middle frequency and width in hertz."""

    seconds: float
    formants: tuple[float, float, float]
    voice: float
    noise: float = 0.0
    middle: float = 2500.0
    width: float = 1500.0


SOUNDS = {
    "AA": Sound(0.11, (730, 1090, 2440), 1.0),
    "AH": Sound(0.10, (640, 1190, 2390), 1.0),
    "AO": Sound(0.11, (570, 840, 2410), 1.0),
    "EH": Sound(0.10, (530, 1840, 2480), 1.0),
    "IH": Sound(0.09, (390, 1990, 2550), 0.9),
    "IY": Sound(0.11, (270, 2290, 3010), 0.9),
    "OW": Sound(0.12, (450, 880, 2300), 1.0),
    "UW": Sound(0.13, (300, 870, 2240), 0.9),
    "R": Sound(0.07, (420, 1300, 1600), 0.6),
    "W": Sound(0.07, (290, 610, 2150), 0.6),
    "N": Sound(0.09, (250, 1450, 2300), 0.4),
    "V": Sound(0.07, (260, 1100, 2100), 0.3, 0.05, 2500, 2500),
    "Z": Sound(0.09, (260, 1600, 2500), 0.25, 0.2, 3500, 600),
    "S": Sound(0.12, (300, 1600, 2600), 0.0, 0.4, 3500, 600),
    "F": Sound(0.11, (300, 1100, 2200), 0.0, 0.08, 2500, 2500),
    "TH": Sound(0.10, (300, 1400, 2500), 0.0, 0.06, 3000, 1500),
    "T": Sound(0.03, (300, 1700, 2600), 0.0, 0.5, 3300, 900),
    "K": Sound(0.03, (300, 1800, 2400), 0.0, 0.4, 1900, 600),
    "-": Sound(0.05, (300, 1600, 2500), 0.0),
}
SPELLING = ("Z IH R OW", "W AH N", "T UW UW", "TH R IY", "F AO R", "F AA IH V", "S IH - K S", "S EH V AH N", "EH IY - T", "N AA IH N")
"""Sounds of each digit."""


class Voice(NamedTuple):
    """What one speaker's digits have in common."""

    pitch: float
    tract: float
    """Factor of all formants: a longer tract has lower ones."""
    tempo: float
    hiss: float
    """Loudness of the room's noise."""
    accent: Mapping[str, tuple[float, ...]] = {}
    """Factors of a sound's formants, where they are not 1."""
    pause: float = 0.0
    """Seconds of silence before and after a word, at most."""


def generate(source: SyntheticAudio, seed: int) -> Fetched:
    """`takes` recordings of each digit by each of `speakers` voices."""
    return Fetched(_documents(source, seed), {"kind": "synthetic", **source.model_dump(exclude={"kind"})})


def _documents(source: SyntheticAudio, seed: int) -> Iterator[Document]:
    for digit in range(len(CLASSES)):
        for speaker in range(source.speakers):
            speaking = voice(stream(seed, "voice", speaker))
            if source.variety:
                speaking = varied(speaking, source.variety, stream(seed, "accent", speaker))
            for take in range(source.takes):
                samples = say(digit, speaking, stream(seed, "take", digit, speaker, take))
                text = waves.to_text(waves.to_wav(samples.astype(np.float32), RATE))
                yield Document(f"audio/{digit}/voice{speaker:03d}/{take:02d}", text)


def voice(chance: np.random.Generator) -> Voice:
    """A speaker by chance."""
    high = chance.random()  # higher voices come from shorter tracts
    pitch = 95 + 130 * high + 10 * chance.standard_normal()
    return Voice(pitch, 0.92 + 0.22 * high + 0.03 * chance.standard_normal(), chance.uniform(0.8, 1.25), chance.uniform(0.02, 0.3))


def varied(voice: Voice, variety: float, chance: np.random.Generator) -> Voice:
    """The same speaker, further from the others."""
    tract = voice.tract * (1 + TRACT * variety * chance.uniform(-1, 1))
    accent = {name: tuple(chance.normal(1, ACCENT * variety, 3).tolist()) for name in SOUNDS}
    hiss = voice.hiss * (1 + ROOM * variety)
    return voice._replace(tract=tract, hiss=hiss, accent=accent, pause=PAUSE * variety)


def say(digit: int, voice: Voice, chance: np.random.Generator) -> Signal:
    """Samples in [-1, 1] of a digit, at `RATE`; no two takes are alike."""
    sounds = [_accented(SOUNDS[name], voice.accent.get(name)) for name in SPELLING[digit].split()]
    lengths = [max(2, round(s.seconds / voice.tempo * chance.uniform(0.8, 1.25) * RATE / STEP)) for s in sounds]
    ends = np.cumsum(lengths)
    centres = ends - np.array(lengths) / 2
    times = np.arange(ends[-1]) + 0.5
    formants_3T = [np.interp(times, centres, [s.formants[f] for s in sounds]) for f in range(3)]
    formants_3T = [track * voice.tract * chance.normal(1, 0.03) for track in formants_3T]
    loud_T = np.interp(times, centres, [s.voice for s in sounds])
    fade_T = np.minimum(1, np.minimum(times, times[::-1]) / 3)
    signal = _voiced(voice.pitch * chance.normal(1, 0.06), formants_3T, loud_T * fade_T)
    for sound, start, end in zip(sounds, ends - lengths, ends, strict=True):
        if sound.noise:
            signal[start * STEP : end * STEP] += _hiss(sound, (end - start) * STEP, voice.tract, chance)
    signal /= np.abs(signal).max()
    if voice.pause:
        signal = np.pad(signal, (round(RATE * chance.uniform(0, voice.pause)), round(RATE * chance.uniform(0, voice.pause))))
    signal += voice.hiss * chance.standard_normal(len(signal))
    return signal * chance.uniform(0.3, 0.9) / np.abs(signal).max()


def _accented(sound: Sound, factors: Sequence[float] | None) -> Sound:
    first, second, third = (f * k for f, k in zip(sound.formants, factors or (1.0, 1.0, 1.0), strict=True))
    return sound._replace(formants=(first, second, third))


def _voiced(pitch: float, formants_3T: list[Signal], loud_T: Signal) -> Signal:
    """Harmonics of a falling pitch, each as loud as the formants let it be (a resonance of width `BANDWIDTH` each) at -6 dB an octave."""
    steps = len(loud_T)
    pitch_T = pitch * np.linspace(1.08, 0.9, steps)
    grid, places = np.arange(steps) * STEP, np.arange(steps * STEP)
    phase_N = 2 * np.pi * np.cumsum(np.interp(places, grid, pitch_T)) / RATE
    signal = np.zeros(steps * STEP)
    for k in range(1, int(0.95 * RATE / 2 / pitch_T.max())):
        gain_T = loud_T / k
        weight_T = sum(BANDWIDTH**2 / ((k * pitch_T - track) ** 2 + BANDWIDTH**2) * 0.7**f for f, track in enumerate(formants_3T))
        signal += np.interp(places, grid, gain_T * (0.02 + weight_T)) * np.sin(k * phase_N)
    return signal


def _hiss(sound: Sound, samples: int, tract: float, chance: np.random.Generator) -> Signal:
    """Noise around a frequency, as loud as the sound's says."""
    spectrum = np.fft.rfft(chance.standard_normal(samples))
    frequencies = np.fft.rfftfreq(samples, 1 / RATE)
    shaped: Signal = np.fft.irfft(spectrum * np.exp(-(((frequencies - sound.middle * tract) / sound.width) ** 2)), samples)
    return shaped / (shaped.std() + 1e-9) * sound.noise * 0.3 * np.hanning(samples)
