"""Export formats: one file each, named in `pipeline.schema.formats`, behind one protocol.

converter.export(module, source, target)    # write the folder `target` of a model whose weights have their quantized values
converter.load(folder)                      # read it in the runtime that its users have, as a module of `pipeline.models`' protocol
converter.BOUNDS                            # how far that may be from the quantized model
"""

import importlib
import shutil
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from pipeline.errors import UserError
from pipeline.models.base import Model
from pipeline.schema.formats import FORMATS, refusal


class Source(NamedTuple):
    """Where a converter finds what the weights alone do not say."""

    name: str
    model: Path
    """Model directory: config.json and the tokenizer."""
    ready: Path
    """Ready data, for the model card."""

    def copy_tokenizer(self, target: Path) -> None:
        """Put the tokenizer's files beside an export."""
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(self.model / name, target / name)


class Bounds(NamedTuple):
    """The most that an export may differ from the model that it was made of."""

    max_logit_difference: float
    kl_divergence: float
    greedy_equal: float


class Converter(Protocol):
    """What each file of a format offers."""

    BOUNDS: Bounds
    WEIGHTS: str
    """Name of the file that holds the weights."""

    def export(self, module: Model, source: Source, target: Path) -> None: ...

    def load(self, folder: Path) -> Model: ...


def converter(family: str, name: str) -> Converter:
    """The format's file; raises `UserError` for an unknown format and for one that cannot hold the family."""
    if sentence := refusal(family, name):
        raise UserError(sentence)
    return cast("Converter", importlib.import_module(f"pipeline.conversion.{name}"))


def read(family: str, format: str, folder: Path) -> Model:
    """An export in its runtime; raises `UserError` where it cannot be read, whatever the runtime raises."""
    reader = converter(family, format)
    if not (folder / reader.WEIGHTS).is_file():
        raise UserError(f"{folder / reader.WEIGHTS} is missing: run the stage `convert` again")
    try:
        return reader.load(folder)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{folder / reader.WEIGHTS} cannot be read ({type(error).__name__}: {error}): run the stage `convert` again"
        ) from error


__all__ = ["FORMATS", "Bounds", "Converter", "Source", "converter", "read", "refusal"]
