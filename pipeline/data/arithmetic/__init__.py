"""Arithmetic as a language: equations, their generation, and the codec between what people write and what a model reads."""

from pipeline.data.arithmetic.codec import Codec
from pipeline.data.arithmetic.equations import Equation, Labels, group, labels, parse, value
from pipeline.data.arithmetic.generation import codec_for, generate

__all__ = ["Codec", "Equation", "Labels", "codec_for", "generate", "group", "labels", "parse", "value"]
