"""Cleaning: play Markdown to the plain text of dialogue, lower-casing, white space."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.schema.data import Cleaning

_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+\-.!])")
_SPEAKER = re.compile(r"\*\*(.+?)\*\*")
_EMPHASIS = re.compile(r"(?<!\w)(?:_{1,2}|\*)(?=\S).*?\S?(?:_{1,2}|\*)(?!\w)", re.DOTALL)


def clean(text: str, cleaning: "Cleaning") -> str:
    """Apply the options that are on, in their order in the configuration."""
    if cleaning.play_markdown:
        text = play_text(text)
    if cleaning.lowercase:
        text = text.lower()
    if cleaning.normalize_whitespace:
        text = normalize_whitespace(text)
    return text


def normalize_whitespace(text: str) -> str:
    """Runs of spaces become one, lines lose spaces at their ends, more than one empty line becomes one; ends with a newline."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n") + "\n"


def play_text(markdown: str) -> str:
    """Speeches of a play in Markdown as "SPEAKER:", its lines, an empty line; headings and stage directions are left out."""
    speeches: list[list[str]] = []
    for block in re.split(r"\n[ \t]*\n", markdown):
        block = _EMPHASIS.sub("", block) if not block.startswith("**") else block
        lines = [line.strip() for line in block.strip().split("\n") if line.strip() and not line.startswith("#")]
        if not lines:
            continue
        if speaker := _SPEAKER.match(lines[0]):
            speeches.append([f"{_plain(speaker[1])}:"])
            lines = [lines[0][speaker.end() :], *lines[1:]]
        elif not speeches:
            continue
        speeches[-1] += [line for line in map(_plain, lines) if line]
    return "\n".join("\n".join(speech) + "\n" for speech in speeches if len(speech) > 1)


def _plain(line: str) -> str:
    """A line without emphasis, directions and escapes, with ASCII dashes."""
    line = _EMPHASIS.sub("", line)
    return " ".join(_ESCAPE.sub(r"\1", line).replace("—", "--").split())
