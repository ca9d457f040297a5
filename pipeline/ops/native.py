"""The native extension: found, checked against its sources, set to a level, called."""

import functools
import hashlib
import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import to_dlpack  # type: ignore[attr-defined]

from pipeline.errors import UserError

SOURCES = Path(__file__).resolve().parents[2] / "native"
BUILT_FROM = ("CMakeLists.txt", "bindings", "cmake", "include", "src")
LEVEL = "QUINTET_CPU"
"""Environment variable that names the instructions to use instead of the best that the processor has."""


@functools.cache
def module() -> ModuleType:
    """`quintet_native`; raises `UserError` where it is missing, built from other sources, or QUINTET_CPU names no level of this machine."""
    try:
        built = importlib.import_module("quintet_native")
    except ImportError as error:
        raise UserError(f"the native extension quintet_native cannot be imported ({error}): run `make build`") from None
    if SOURCES.is_dir() and built.source_hash != source_hash(SOURCES):
        raise UserError(f"the native extension {built.__file__} was built from other sources than {SOURCES}: run `make build`")
    if (level := os.environ.get(LEVEL)) is not None:
        if level not in built.levels():
            raise UserError(f"{LEVEL} is {level!r}, but this machine's levels are {', '.join(built.levels())}: choose one, or unset it")
        built.use_level(level)
    return built


def call(name: str, *arguments: Any) -> Any:
    """Call a function of the extension; it writes its result into the last tensor, which must be contiguous (others are made so)."""
    return getattr(module(), name)(*handles(*arguments))


def handles(*arguments: Any) -> tuple[Any, ...]:
    """The arguments as the extension takes them: a tensor as its DLPack capsule."""
    return tuple(to_dlpack(each.contiguous()) if isinstance(each, Tensor) else each for each in arguments)


def call_cuda(name: str, device: torch.device, *arguments: Any) -> Any:
    """Call the CUDA twin `cuda_NAME` of a function on a device, in the device's current stream, which all tensors must be ready on.

    `UserError` where the extension was built without CUDA.
    """
    if not hasattr(module(), f"cuda_{name}"):
        raise UserError(f"{name} has no CUDA kernels: install nvcc (CUDA >= 12.8) and run `make build`")
    index = torch.cuda.current_device() if device.index is None else device.index
    place = module().Place(index, torch.cuda.current_stream(index).cuda_stream)
    return call(f"cuda_{name}", place, *arguments)


def source_hash(folder: Path) -> str:
    """SHA-256 over the native sources, as native/cmake/source_hash.cmake computes it: of the lines "SHA-256  path", sorted by path."""
    files = [folder / BUILT_FROM[0], *(file for name in BUILT_FROM[1:] for file in (folder / name).rglob("*") if file.is_file())]
    listing = {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return hashlib.sha256("".join(f"{listing[name]}  {name}\n" for name in sorted(listing)).encode()).hexdigest()
