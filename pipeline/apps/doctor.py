"""`python -m pipeline doctor`: what was built, what the machine has, what will be used and by what to change it, and what is missing."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from filelock import FileLock, Timeout
from packaging.requirements import Requirement
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import pipeline
from pipeline import config as configuration
from pipeline import paths
from pipeline.apps import locks, presets
from pipeline.errors import UserError
from pipeline.ops import native
from pipeline.tracking import location

TOOLS = ("torch", "dvc", "snakemake", "mlflow", "transformers", "onnxruntime")
OPTIONAL = ("bitsandbytes", "llama-cpp-python")
"""Packages that nothing of the default work needs."""
ROOM = 2 * 10**9
"""Bytes of memory and of disk under which two stages at once are tight."""
WIDTH = 140
"""Of the tables where the output is no terminal."""


@dataclass
class Findings:
    """What is so, in sections of names and values; what keeps the default work from running here; and what would be better otherwise."""

    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    change: dict[str, str] = field(default_factory=dict)
    """The variable or parameter that changes a value of the section `used`."""
    problems: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)


def examine() -> Findings:
    """Look at everything; what is wrong becomes a sentence of the findings, never an exception."""
    found = Findings()
    found.sections["built"] = _built(found)
    found.sections["machine"] = _machine(found)
    config = _parameters(found)
    found.sections["used"] = _used(config, found)
    found.sections["packages"] = _packages(found)
    found.sections["repository"] = _repository(config, found)
    return found


def show(as_json: bool) -> bool:
    """Print the findings; whether the default work can run here."""
    found = examine()
    if as_json:
        print(json.dumps({**found.sections, "change": found.change, "problems": found.problems, "advice": found.advice}, indent=2))
        return not found.problems
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    for title, values in found.sections.items():
        console.print(_table(title, values, found.change if title == "used" else {}))
    for sentence in found.advice:
        console.print(f"advice: {sentence}", soft_wrap=True, markup=False)
    for sentence in found.problems:
        console.print(f"error: {sentence}", soft_wrap=True, markup=False)
    if not found.problems:
        console.print("The default work can run here: `make repro`.")
    return not found.problems


def _table(title: str, values: dict[str, Any], change: dict[str, str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_header=bool(change))
    for column in ("what", "value", *(["changed by"] if change else [])):
        table.add_column(column, overflow="fold")
    for name, value in values.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
        table.add_row(name, shown or "none", *([change[name]] if change else []))
    return table


def _built(found: Findings) -> dict[str, Any]:
    """The native extension, as `pipeline.ops` would load it."""
    values: dict[str, Any] = {"version": pipeline.__version__}
    try:
        module = native.module()
    except UserError as error:
        found.problems.append(str(error))
        return values | {"extension": None}
    return values | {
        "extension": str(module.__file__),
        "sources": "the same as native/" if native.SOURCES.is_dir() else "native/ is not here to compare",
        "compiler": module.compiler,
        "backends": list(module.backends),
        "cuda architectures": module.cuda_architectures.split(),
    }


def _machine(found: Findings) -> dict[str, Any]:
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(Path.cwd())
    for what, free in (("memory", memory.available), ("disk space", disk.free)):
        if free < ROOM:
            found.advice.append(f"only {_gigabytes(free)} of {what} are free: run one stage at a time, or free some")
    extension = found.sections["built"]["extension"] is not None
    return {
        "processor": _processor(),
        "cpu levels": list(native.module().levels()) if extension else [],
        "cores": f"{len(os.sched_getaffinity(0))} to use of {psutil.cpu_count()}, {psutil.cpu_count(logical=False)} physical",
        "memory": f"{_gigabytes(memory.available)} free of {_gigabytes(memory.total)}",
        "disk": f"{_gigabytes(disk.free)} free of {_gigabytes(disk.total)}",
        "python": platform.python_version(),
        "torch": f"{torch.__version__}, CUDA {torch.version.cuda}" if torch.version.cuda else f"{torch.__version__}, without CUDA",
        "nvidia driver": _driver(),
        "cuda devices": [device["name"] for device in native.module().cuda_devices()] if extension else [],
        "nvcc": shutil.which("nvcc"),
    }


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _processor() -> str:
    """The model as Linux calls it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _driver() -> str | None:
    """Version of NVIDIA's kernel driver."""
    try:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def _parameters(found: Findings) -> configuration.Config | None:
    """params.yaml, where it is there and right."""
    try:
        return configuration.load()
    except UserError as error:
        found.problems.append(str(error))
        return None


def _used(config: configuration.Config | None, found: Findings) -> dict[str, Any]:
    """What a stage that starts now would use."""
    trainings = {name: model.training for name, model in config.models.items()} if config else {}
    wanting = [name for name, training in trainings.items() if training.device == "cuda"]
    if wanting and not torch.cuda.is_available():
        found.problems.append(f"models.{wanting[0]}.training.device is cuda, but torch finds no CUDA device on this machine: set it to cpu")
    rows = [
        ("cpu level", found.sections["built"]["extension"] and native.module().level(), native.LEVEL),
        ("devices of trainings", [f"{name}: {training.device}" for name, training in trainings.items()], "models.NAME.training.device"),
        ("threads of trainings", [f"{name}: {training.threads}" for name, training in trainings.items()], "models.NAME.training.threads"),
        ("threads elsewhere", torch.get_num_threads(), "OMP_NUM_THREADS"),
        ("MLflow store", location.uri() if location.enabled() else None, "MLFLOW_TRACKING_URI, QUINTET_TRACKING"),
        ("private state", str(paths.private()), "QUINTET_HOME"),
        ("mirror of downloads", os.environ.get("QUINTET_MIRROR"), "QUINTET_MIRROR"),
    ]
    found.change = {name: by for name, _, by in rows}
    return {name: value for name, value, _ in rows}


def _packages(found: Findings) -> dict[str, Any]:
    """Versions of what matters most; the sentence of a problem for whatever pyproject.toml asks for and is not there."""
    try:
        asked = [Requirement(line) for line in importlib.metadata.requires("quintet") or []]
    except importlib.metadata.PackageNotFoundError:
        found.problems.append("the package quintet is not installed in this Python: run `make build`, and use .venv/bin/python")
        asked = []
    for requirement in asked:
        version = _version(requirement.name)
        if requirement.marker is None or requirement.marker.evaluate({"extra": "runners"}):
            if version is None:
                found.problems.append(f"the package {requirement.name} is not installed: run `make install`")
            elif not requirement.specifier.contains(version, prereleases=True):
                found.problems.append(f"{requirement.name} is {version}, but {requirement} is needed: run `make install`")
    return {name: _version(name) or "not installed" for name in TOOLS} | {
        f"{name} (optional)": _version(name) or "not installed" for name in OPTIONAL
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _repository(config: configuration.Config | None, found: Findings) -> dict[str, Any]:
    """Parameters, results of others, and locks of what runs or was killed."""
    held = [str(path) for path in sorted((paths.private() / "locks").glob("*.lock")) if _is_held(path)]
    if held:
        found.advice.append(f"a stage is running in another process, which holds {held[0]}: wait for it, or stop it")
    found.advice += locks.advice()
    others = presets.leftovers(config) if config else []
    if others:
        found.advice.append(f"{others[0]} is of other parameters, which the report leaves out: `python -m pipeline clean --yes` removes it")
    unfinished = sorted({path.parent.name for path in (paths.private() / "state").glob("*/*.safetensors")})
    return {
        "params.yaml": "valid" if config else "not valid",
        "models": list(config.models) if config else [],
        "running stages": len(held),
        "trainings that go on when started again": len(unfinished),
        "lock of results": "dvc.lock" if Path("dvc.lock").is_file() else None,
    }


def _is_held(path: Path) -> bool:
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
