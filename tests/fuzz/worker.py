"""Runs damaged files through loaders within limits: a process of its own that reads `LOADER CASE` lines and answers each in JSON.

    python -m tests.fuzz.worker MODULE FOLDER

MODULE has the table `LOADERS`. The address space may grow by `MEMORY` over what the undamaged files need; the process that asks watches
the time, and sees a crash as an answer that does not come.
"""

import faulthandler
import importlib
import json
import os
import random
import re
import resource
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import LONGEST, UserError
from tests.fuzz.mutations import mutate

MEMORY = 1 << 30


class Loader(NamedTuple):
    """What is read: one line of the table."""

    make: Callable[[Path], object]
    """Writes valid files into an empty folder."""
    load: Callable[[Path], Any]
    """Reads the folder; may refuse it, naming the file."""
    use: Callable[[Any], object] = lambda loaded: loaded
    """Works with what was read; may refuse what it is asked, no more."""
    files: str = "*"
    """Pattern of the files that are damaged."""
    refusals: tuple[type[Exception], ...] = (UserError,)
    heavy: bool = False
    """Whether it is left out of the short run."""


def damage(folder: Path, loader: Loader, draw: random.Random) -> None:
    """Change one file of the folder; a name that holds a checksum follows its content half of the time."""
    path = draw.choice(sorted(path for path in folder.rglob(loader.files) if path.is_file()))
    path.write_bytes(mutate(path.name, path.read_bytes(), draw))
    if draw.random() < 0.5:
        from pipeline.io import sha256

        if path.suffix == ".safetensors" and "-" in path.stem:
            path.rename(path.with_name(f"{path.stem.partition('-')[0]}-{sha256(path)[:32]}.safetensors"))


def attempt(loader: Loader, folder: Path) -> str:
    """How reading the folder ended: `read`, `refused: ...`, or what is wrong with how it ended."""
    try:
        loaded = loader.load(folder)
    except loader.refusals as error:
        return judged(str(error), folder)
    except BaseException:
        return f"load: {traceback.format_exc(limit=-8)}"
    try:
        loader.use(loaded)
    except loader.refusals as error:
        return f"refused: {error}"
    except BaseException:
        return f"use: {traceback.format_exc(limit=-8)}"
    return "read"


def judged(sentence: str, folder: Path) -> str:
    """A refusal is one sentence of bounded length, which names the file, and not the end of memory in disguise."""
    if folder.name not in sentence:
        return f"names no file: {sentence}"
    if "\n" in sentence or len(sentence) > LONGEST + 20:
        return f"is no sentence: {sentence!r}"
    if re.search(r"MemoryError|an't allocate|nable to allocate|ut of memory", sentence):
        return f"took memory: {sentence}"
    return f"refused: {sentence}"


def run(loader: Loader, name: str, case: int, valid: Path, folder: Path) -> str:
    """One case: fresh files in `folder`, damaged and read."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(valid, folder)
    damage(folder, loader, random.Random(f"{name}/{case}"))
    return attempt(loader, folder)


def main(module: str, root: Path, chosen: list[str]) -> None:
    faulthandler.enable()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    loaders: dict[str, Loader] = importlib.import_module(module).LOADERS
    for name in chosen:
        valid, folder = root / "valid" / name, root / "damaged" / name
        valid.mkdir(parents=True)
        loaders[name].make(valid)
        shutil.copytree(valid, folder)
        if (found := attempt(loaders[name], folder)) != "read":
            sys.exit(f"{name}: the valid files are not read: {found}")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        name, case = line.split()
        answer = run(loaders[name], name, int(case), root / "valid" / name, root / "damaged" / name)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
