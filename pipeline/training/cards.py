"""A lease on a CUDA device: one process of this machine computes on it, whoever started it; the next one takes another, or waits.

Snakemake counts devices within one run (`resources: gpu`), and Slurm within a cluster; neither knows of a `dvc repro` beside it.
"""

import os
import sys
import time
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from pipeline import progress
from pipeline.errors import UserError

FOLDER = Path("/tmp/quintet-devices")
"""One place for all processes of a machine: what TMPDIR and XDG_RUNTIME_DIR say differs between a login, a timer and a batch job."""
POLL = 1.0
"""Seconds between two looks at devices that are all taken."""

_held: tuple[int, FileLock] | None = None


def visible() -> list[str]:
    """UUIDs of the devices that this process sees, by torch's index: CUDA_VISIBLE_DEVICES and a cluster's cgroups number them anew."""
    return [str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count())]


def lease() -> int:
    """Index of a device that is this process's until it ends, however it ends; while all are taken, waits and says once by whom.

    Raises `UserError` where the locks cannot be written.
    """
    global _held
    said = False
    while _held is None:
        devices = visible()
        _held = next((pair for pair in enumerate(map(_lock, devices)) if _take(pair[1])), None)
        if _held is None:
            if not said:
                holders = (f"{i} is held by {_file(device).read_text().strip() or 'another process'}" for i, device in enumerate(devices))
                progress.say(f"waiting for a CUDA device: {', '.join(holders)}")
                said = True
            time.sleep(POLL)
    return _held[0]


def _file(device: str) -> Path:
    return FOLDER / f"{device}.lock"


def _lock(device: str) -> FileLock:
    """The device's lock, which any user of the machine may take."""
    return FileLock(_file(device), timeout=0, mode=0o666)


def _take(lock: FileLock) -> bool:
    try:
        if not FOLDER.is_dir():
            FOLDER.mkdir(exist_ok=True)
            FOLDER.chmod(0o777)
        lock.acquire()
    except Timeout:
        return False
    except OSError as error:
        raise UserError(f"{lock.lock_file} cannot be written ({error.strerror}): remove {FOLDER}, or let everybody write there") from None
    Path(lock.lock_file).write_text(f"pid {os.getpid()} ({' '.join(sys.argv[1:])})\n")
    return True
