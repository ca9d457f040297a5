"""The native extension: found, checked against its sources, handed to the operations."""

import functools
import hashlib
import importlib
from pathlib import Path
from types import ModuleType

from pipeline.errors import UserError

SOURCES = Path(__file__).resolve().parents[2] / "native"
BUILT_FROM = ("CMakeLists.txt", "bindings", "cmake", "include", "src")


@functools.cache
def module() -> ModuleType:
    """`quintet_native`; raises `UserError` where it is not built, or was built from other sources than those beside the package."""
    try:
        built = importlib.import_module("quintet_native")
    except ImportError as error:
        raise UserError(f"the native extension quintet_native cannot be imported ({error}): run `make build`") from None
    if SOURCES.is_dir() and built.source_hash != source_hash(SOURCES):
        raise UserError(f"the native extension {built.__file__} was built from other sources than {SOURCES}: run `make build`")
    return built


def source_hash(folder: Path) -> str:
    """SHA-256 over the native sources, as native/cmake/source_hash.cmake computes it: of the lines "SHA-256  path", sorted by path."""
    files = [folder / BUILT_FROM[0], *(file for name in BUILT_FROM[1:] for file in (folder / name).rglob("*") if file.is_file())]
    listing = {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return hashlib.sha256("".join(f"{listing[name]}  {name}\n" for name in sorted(listing)).encode()).hexdigest()
