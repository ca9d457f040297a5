"""Programs of Debian that some tests start for real: a cluster, a database, a browser."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest
from filelock import FileLock

REQUIRED = "QUINTET_SERVICES"
PATIENCE = 900
"""Seconds that one step of an installation may take."""


def unavailable(reason: str) -> NoReturn:
    """Skip the test, with the reason; where the environment has QUINTET_SERVICES=required, fail it."""
    if os.environ.get(REQUIRED) == "required":
        pytest.fail(reason)
    pytest.skip(f"{reason} ({REQUIRED}=required makes this a failure)")


def debian(*packages: str, commands: tuple[str, ...]) -> None:
    """Install Debian's packages where one of their commands is missing."""
    missing = [command for command in commands if not shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        unavailable(f"{', '.join(missing)} not found, and only root can install {' '.join(packages)} with apt-get")
    options = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "stdin": subprocess.DEVNULL, "timeout": PATIENCE}
    patient = ["apt-get", "--quiet", "--option", "DPkg::Lock::Timeout=600"]
    with FileLock(Path(tempfile.gettempdir()) / "quintet-apt.lock"):  # of all tests that run at once, one installs
        for step in (("update",), ("install", "--yes", "--no-install-recommends", *packages)):
            try:
                done = subprocess.run([*patient, *step], capture_output=True, text=True, **options)
            except subprocess.TimeoutExpired:
                unavailable(f"apt-get {step[0]} did not end within {PATIENCE} s")
            if done.returncode:
                unavailable(f"apt-get {step[0]} failed: {done.stderr[-500:]}")
