"""Recordings as text: WAV files (16 bits, one channel) in data URIs (RFC 2397)."""

import base64
import binascii
import io
import wave

import numpy as np
import numpy.typing as npt

from pipeline.errors import UserError

Samples = npt.NDArray[np.float32]

PREFIX = "data:audio/wav;base64,"


def to_text(wav: bytes) -> str:
    """The data URI of a WAV file."""
    return PREFIX + base64.b64encode(wav).decode()


def to_wav(samples_N: Samples, rate: int) -> bytes:
    """A WAV file of samples in [-1, 1]."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes((np.clip(samples_N, -1, 1) * 32767).round().astype("<i2").tobytes())
    return file.getvalue()


def read(text: str, what: str) -> tuple[Samples, int]:
    """Samples in [-1, 1] and their rate; `UserError` that begins with `what` where it is no such recording."""
    try:
        with wave.open(io.BytesIO(base64.b64decode(text.removeprefix(PREFIX), validate=True)), "rb") as reader:
            if (reader.getnchannels(), reader.getsampwidth()) != (1, 2):
                raise UserError(
                    f"{what} has {reader.getnchannels()} channels of {8 * reader.getsampwidth()} bits, not one of 16: convert it"
                )
            samples = np.frombuffer(reader.readframes(reader.getnframes()), "<i2")
            return samples.astype(np.float32) / np.float32(32768), reader.getframerate()
    except (wave.Error, EOFError, ValueError, binascii.Error) as error:
        raise UserError(f"{what} is not a WAV file ({error}): run the stage `download` again") from None
