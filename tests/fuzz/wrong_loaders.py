"""Loaders that are wrong, each in its way, from the second file on: what the fuzzer must find."""

import os
import resource
import time
from pathlib import Path
from typing import NoReturn

from tests.fuzz.worker import Loader


def _make(folder: Path) -> None:
    (folder / "x.json").write_text('{"a": 1}')


def _raise(error: Exception) -> NoReturn:
    raise error


WAYS = {
    "raises": lambda folder: {}["a"],
    "hangs": lambda folder: time.sleep(1000),
    "eats": lambda folder: bytearray(resource.getrlimit(resource.RLIMIT_AS)[0]),
    "dies": lambda folder: os._exit(3),
    "refuses in lines": lambda folder: _raise(ValueError(f"{folder}\nis wrong")),
    "names nothing": lambda folder: _raise(ValueError("it is wrong")),
}


def _load(what: str, folder: Path) -> object:
    tried = folder.parent / f"{what}.tried"
    if not tried.exists():  # the worker first reads a file that is not damaged
        tried.touch()
        return None
    return WAYS[what](folder)


LOADERS = {what.replace(" ", "_"): Loader(_make, lambda folder, what=what: _load(what, folder), refusals=(ValueError,)) for what in WAYS}
