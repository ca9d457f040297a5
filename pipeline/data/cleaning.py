"""Cleaning: play Markdown to the plain text of its dialogue, lower-casing, white space."""

import html
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.schema.data import Cleaning

_BLOCK = re.compile(r"\n(?:[ \t]*\n)+")
_SPEAKER = re.compile(r"^\*\*([^*\n]+)\*\*[ \t]*$", re.MULTILINE)
_BRACKETED = re.compile(r"[_*]{0,2}\\?\[[^\[\]]*\][_*]{0,2}")
_DIRECTION = re.compile(r"([_*]).*\1", re.DOTALL)
_INLINE_DIRECTION = re.compile(r"(?<!\w)([_*])(?=\S)[^_*]+\1(?!\w)")
_LIST = re.compile(r"[0-9]+\\?\. ")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_ET_CETERA = re.compile(r"& [cC]\b")


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
    """One space between words, none at the ends of lines, at most one empty line together, one newline at the end."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    stripped = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
    return f"{stripped}\n" if stripped else ""


def play_text(markdown: str) -> str:
    """The dialogue of a play in Markdown, in the manner of Tiny Shakespeare: "SPEAKER:", the lines of the speech, an empty line.

    Headings and stage directions (emphasised or bracketed text, and the numbered order of a procession) are left out, so a speech
    that a direction interrupts goes on. Speeches without words are left out, and so is text before the first speaker.
    """
    _, *parts = _SPEAKER.split(markdown.replace("\r\n", "\n"))
    speeches = []
    for speaker, body in zip(parts[::2], parts[1::2], strict=True):
        lines = [line for block in _BLOCK.split(body) for line in _spoken(block)]
        if lines:
            speeches.append("\n".join([f"{_plain(speaker).replace(':', '')}:", *lines]))
    return "\n\n".join(speeches) + "\n" if speeches else ""


def _spoken(block: str) -> list[str]:
    """The lines of a block that are said on the stage."""
    words = _BRACKETED.sub("", block).strip()
    if words.startswith("#") or _LIST.match(words) or _DIRECTION.fullmatch(words):
        return []
    lines = map(_plain, _INLINE_DIRECTION.sub("", words).split("\n"))
    return [line for line in lines if line]


def _plain(line: str) -> str:
    """A line without escapes and entities, with ASCII dashes and single spaces."""
    text = html.unescape(_ESCAPE.sub(r"\1", line)).replace("—", "--")
    return " ".join(_ET_CETERA.sub("&c", text).split())
