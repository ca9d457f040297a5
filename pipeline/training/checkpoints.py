"""Resumable state on disk: two generations, each one safetensors file whose name holds its checksum."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pipeline import io, tensors
from pipeline.errors import UserError
from pipeline.progress import say

VERSION = 1
GENERATIONS = 2
AGAIN = "delete it and start the stage again"


@dataclass
class Checkpoint:
    """Everything that a training needs to go on: tensors by name, and the rest as JSON."""

    step: int
    tensors: dict[str, Tensor]
    record: dict[str, Any]
    path: Path


class Store:
    """The checkpoints of one training, in a folder of their own. A file is there whole or not at all; damage is noticed and said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, held: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Add a generation, and let go of all but the newest two."""
        data = save(dict(held), {"record": json.dumps({**record, "version": VERSION})})
        io.write_bytes(self.folder / f"{step:012d}-{hashlib.sha256(data).hexdigest()[:32]}.safetensors", data)
        for old in self._files()[GENERATIONS:]:
            old.unlink()

    def load(self) -> Checkpoint | None:
        """The newest generation that is whole, or `None`; each one that is damaged is named, and removed.

        Raises `UserError` for one of a newer version.
        """
        for path in self._files():
            try:
                return _read(path)
            except _Damaged as error:
                say(f"{path} is damaged ({error}): going back to the checkpoint before it")
                path.unlink()
        return None

    def locked(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Keep other processes away from this training for the time of a `with` block; `UserError` where one is at it."""
        return io.exclusive(self.folder.with_suffix(".lock"), what)

    def remove(self) -> None:
        """Forget the training: it is published."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> list[Path]:
        """Newest first."""
        return sorted(self.folder.glob("*-*.safetensors"), reverse=True)


class _Damaged(Exception):
    """A checkpoint that is not what was written."""


def _read(path: Path) -> Checkpoint:
    """Raises `_Damaged`, and `UserError` for a checkpoint of a newer version."""
    step, _, checksum = path.stem.partition("-")
    data = path.read_bytes()
    if not step.isdecimal() or hashlib.sha256(data).hexdigest()[:32] != checksum:
        raise _Damaged("its name is not its checksum")
    try:
        header = tensors.read_header(path, AGAIN)
        record, held = json.loads(header.metadata["record"]), load(data)
    except (UserError, SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise _Damaged(error) from None
    if not isinstance(record, dict):
        raise _Damaged("its record is not a JSON object")
    io.check_version(path, "record.version", record.pop("version", 1), VERSION)
    return Checkpoint(int(step), held, record, path)
