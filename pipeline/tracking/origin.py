"""What is volatile about one run of a stage: who ran what, where, with which versions. It goes to the event log and into no output."""

import getpass
import importlib.metadata
import os
import platform
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

OUTPUTS_IN_GIT = ("dvc.lock", "metrics", "plots", "report")
"""Files that a run itself rewrites: a change there does not make the code "dirty"."""


def describe() -> dict[str, Any]:
    """The `begin` event's facts: command, process, host, commit, versions, runner and its names for this run.

    `experiment` is DVC's name for it, or what QUINTET_EXPERIMENT says where another program runs experiments.
    """
    runner = runner_process()
    return {
        "command": shlex.join(["python", "-m", "pipeline", *sys.argv[1:]]),
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "user": _user(),
        "cpus": len(os.sched_getaffinity(0)),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("quintet", "torch", "numpy")},
        "git": _git(),
        "runner": _runner_name(runner) if runner else "shell",
        "dvc": {name: os.environ[variable] for name, variable in _DVC.items() if variable in os.environ},
        "experiment": os.environ.get("QUINTET_EXPERIMENT") or os.environ.get("DVC_EXP_NAME"),
    }


_DVC = {"exp": "DVC_EXP_NAME", "stage": "DVC_STAGE", "baseline": "DVC_EXP_BASELINE_REV"}


def runner_process() -> psutil.Process | None:
    """The nearest `dvc` or `snakemake` among this process's ancestors."""
    return next((process for process in psutil.Process().parents() if _runner_name(process)), None)


def _runner_name(process: psutil.Process) -> str:
    try:
        words = [Path(word).name for word in process.cmdline()[:3]]
    except psutil.Error:
        return ""
    return next((name for name in ("dvc", "snakemake") if name in words), "")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id may have no name
        return str(os.getuid())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    """Commit, and whether tracked files other than a run's outputs differ from it; None outside a repository."""
    commit = _git_output("rev-parse", "HEAD")
    if commit is None:
        return None
    excluded = [f":(exclude,top){path}" for path in OUTPUTS_IN_GIT]
    return {"commit": commit, "dirty": bool(_git_output("status", "--porcelain", "--untracked-files=no", "--", ":(top)", *excluded))}


def _git_output(*arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
