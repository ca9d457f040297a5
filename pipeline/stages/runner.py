"""Runs one stage: checks parameters, takes a lock, notes what inputs and code are, publishes only if they still are that.

The guard closes a hole that every runner leaves open: DVC records the hashes of code and data *after* a command, so that an
edit made while it ran would be taken for what made the result.
"""

import functools
import hashlib
import importlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from pipeline import config as configuration
from pipeline import paths, tracking
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.io import Fingerprints, Staging, digest, exclusive
from pipeline.tracking.origin import runner_process

PACKAGE = Path(__file__).resolve().parent.parent
STAGES = tuple(configuration.STAGE_PARAMETERS)
OF_DATASETS = ("download", "tokenize")


@dataclass
class Stage:
    """What a stage function is given."""

    name: str
    target: str | None
    config: Config
    """Restricted to the keys that the stage declares."""
    parameters: dict[str, Any]
    """The same as flat values: dotted key -> value."""
    inputs: Fingerprints
    out: Staging
    """`stage.out(path)`: where to write an output for now."""
    events: tracking.EventLog
    afterwards: list[Callable[[], None]] = field(default_factory=list)
    """What to do once the outputs are published."""
    code: Fingerprints = field(default_factory=lambda: Fingerprints(sorted(PACKAGE.rglob("*.py"))))

    @property
    def model(self) -> Any:
        """The target's block under `models`."""
        return self.config.models[str(self.target)]

    @property
    def dataset(self) -> str:
        """Name of the data set that the stage works on."""
        return str(self.target) if self.name in OF_DATASETS else str(self.model.dataset)

    def loaded_code(self) -> dict[str, str]:
        """SHA-256 at the stage's start of every file of the package that has been imported since, by its path below the project."""
        modules = [module for name, module in list(sys.modules.items()) if name.startswith("pipeline.")]
        loaded = {Path(str(module.__file__)).resolve() for module in modules if module.__file__}
        files = sorted(loaded & self.code.sha256.keys())
        return {f"pipeline/{file.relative_to(PACKAGE).as_posix()}": str(self.code.sha256[file]) for file in files}

    @functools.cached_property
    def state_key(self) -> str:
        """Names the resumable state: a hash of command, parameters, inputs and the code that is loaded when it is first asked for."""
        data = {str(path): value for path, value in self.inputs.sha256.items()}
        return digest([self.name, self.target, self.parameters, data, self.loaded_code()])[:16]

    @property
    def training_key(self) -> str:
        """Names a training in MLflow: a hash of parameters and data, but not of code. Only the stage `train` makes one."""
        data = {path.name: value for path, value in self.inputs.sha256.items()}
        return digest([self.target, self.parameters, data])[:16]


def run(name: str, target: str | None) -> None:
    """Run a stage to its end; raises `UserError` for what the user can mend."""
    paths.require_project()
    full = configuration.load()
    _check_target(name, target, full)
    die_with_runner()
    module = importlib.import_module(f"pipeline.stages.{name}")
    dataset = full.models[str(target)].dataset if name not in (*OF_DATASETS, "report") else None
    files = paths.files(name, target, dataset)
    here = hashlib.sha256(f"{Path.cwd()}/{name}/{target}".encode()).hexdigest()[:16]
    with exclusive(paths.private() / "locks" / f"{here}.lock", f"{name} {target or ''}".strip()):
        out = Staging(Path(".quintet/staging") / f"{name}-{target or 'all'}", files.outputs)
        parameters = configuration.select(full, name, target)
        with tracking.open_log(name, target, parameters) as events:
            stage = Stage(name, target, configuration.restrict(full, name, target), parameters, Fingerprints(files.inputs), out, events)
            module.run(stage)
            _guard(stage)
            out.publish()
            events.published(files.outputs)
            for action in stage.afterwards:
                action()


def _check_target(name: str, target: str | None, full: Config) -> None:
    if name == "report":
        return
    kind, known = ("data set", full.datasets) if name in OF_DATASETS else ("model", full.models)
    if target not in known:
        raise configuration.unknown_target(kind, str(target), sorted(known))


def _guard(stage: Stage) -> None:
    """Fail before anything is published if an input, a parameter, or a file of the code that ran changed meanwhile."""
    ran = {PACKAGE.parent / path for path in stage.loaded_code()}
    changed = [*stage.inputs.changed(), *(path for path in stage.code.changed() if path in ran)]
    if configuration.select(configuration.load(), stage.name, stage.target) != stage.parameters:
        changed.append(paths.PARAMETERS)
    stage.events.code(stage.loaded_code())
    if changed:
        shutil.rmtree(stage.out.folder, ignore_errors=True)
        raise UserError(f"{changed[0]} changed while {stage.name} was running, so nothing was published: run the stage again")


def die_with_runner(interval: float = 0.5) -> None:
    """End this process soon after the `dvc` or `snakemake` that started it is gone, however it died.

    A shell may sit between, so the kernel's parent-death signal is not enough: the nearest runner among the ancestors is watched.
    """
    runner = runner_process()
    if runner is None:
        return

    def watch() -> None:
        while runner.is_running() and runner.status() != psutil.STATUS_ZOMBIE:
            time.sleep(interval)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="die-with-runner").start()
