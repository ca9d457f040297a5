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

from pipeline import io
from pipeline.progress import say

GENERATIONS = 2


@dataclass
class Checkpoint:
    """Everything that a training needs to go on: tensors by name, and the rest as JSON."""

    step: int
    tensors: dict[str, Tensor]
    record: dict[str, Any]


class Store:
    """The checkpoints of one training, in a folder of their own. A file is there whole or not at all; damage is noticed and said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Add a generation, and let go of all but the newest two."""
        data = save(dict(tensors), {"record": json.dumps(record)})
        io.write_bytes(self.folder / f"{step:012d}-{hashlib.sha256(data).hexdigest()[:32]}.safetensors", data)
        for old in self._files()[GENERATIONS:]:
            old.unlink()

    def load(self) -> Checkpoint | None:
        """The newest generation that is whole, or `None`; each one that is damaged is named, and removed."""
        for path in self._files():
            data = path.read_bytes()
            step, checksum = path.stem.split("-")
            with contextlib.suppress(SafetensorError, ValueError, KeyError, TypeError):
                if hashlib.sha256(data).hexdigest()[:32] == checksum:
                    return Checkpoint(int(step), load(data), json.loads(_metadata(data)["record"]))
            say(f"{path} is damaged: going back to the checkpoint before it")
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


def _metadata(data: bytes) -> dict[str, str]:
    """The free part of a safetensors header (8-byte little-endian length, then JSON)."""
    length = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return metadata
