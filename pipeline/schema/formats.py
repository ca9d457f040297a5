"""Export formats: which families each can hold, and why not the others.

A new format adds a line here and its file under `pipeline/conversion`.
"""

import difflib
from typing import NamedTuple


class Format(NamedTuple):
    """What a format can hold."""

    families: tuple[str, ...]
    """Families whose models run in the format's own runtime."""
    otherwise: str
    """Why every other family is refused, to follow "because"."""


FORMATS = {
    "huggingface": Format(
        ("transformer",), "transformers has no class with its tensors and we ship no code to be run from a model directory"
    ),
    "onnx": Format(("transformer",), "its state has no inputs and outputs in the graph yet"),
}


def refusal(family: str, name: str) -> str | None:
    """The sentence that says why a family's models cannot be written in a format, or None where they can."""
    if name not in FORMATS:
        near = difflib.get_close_matches(name, FORMATS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(FORMATS)}"
        return f"there is no format {name!r}: {hint}"
    if family in FORMATS[name].families:
        return None
    supported = [other for other, entry in FORMATS.items() if family in entry.families]
    remedy = f"choose from {', '.join(supported)}" if supported else "leave its formats empty"
    return f"a {family} model cannot be written as {name}, because {FORMATS[name].otherwise}: {remedy}"
