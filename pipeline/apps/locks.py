"""Locks that killed runners leave behind, each with what it means and what to do about it."""

import json
from collections.abc import Iterator
from pathlib import Path

import psutil

RWLOCK = Path(".dvc/tmp/rwlock")
"""Which process of DVC reads or writes which path."""
SNAKEMAKE = Path(".snakemake/locks")
"""While a file is in it, Snakemake starts nothing here."""


def advice() -> list[str]:
    """A sentence for each lock in this folder that a live process does not stand behind, and for each that one does."""
    return [*_dvc(), *_snakemake()]


def _dvc() -> Iterator[str]:
    if not RWLOCK.is_file():
        return
    if not RWLOCK.stat().st_size:
        yield f"a killed DVC left {RWLOCK} empty, which DVC cannot read: `rm {RWLOCK}` (`make repro` does it too)"
        return
    try:
        saved = json.loads(RWLOCK.read_text(encoding="utf-8"))
        holders = [holder for own in saved.get("read", {}).values() for holder in own] + list(saved.get("write", {}).values())
        named = {int(holder["pid"]): str(holder["cmd"]) for holder in holders}
    except (ValueError, AttributeError, KeyError, TypeError):
        yield f"a killed DVC left {RWLOCK} cut short, which DVC cannot read: `rm {RWLOCK}`"
        return
    for pid, command in sorted(named.items()):
        yield _holder(pid, command)


def _holder(pid: int, command: str) -> str:
    """What a process that DVC's lock names means; one that began after the lock was written only got a dead one's number."""
    try:
        began = psutil.Process(pid).create_time()
    except psutil.Error:
        return f"a killed DVC (process {pid}, `{command}`) still stands in {RWLOCK}: the next `dvc repro` takes it out by itself"
    if began > RWLOCK.stat().st_mtime:
        return f"{RWLOCK} names process {pid} of a killed `{command}`, a number that another program has now: `rm {RWLOCK}`"
    return f"`{command}` is running here as process {pid}: wait for it, or stop it"


def _snakemake() -> Iterator[str]:
    left = sorted(SNAKEMAKE.glob("*.lock"))
    if not left:
        return
    if running := _running("snakemake"):
        yield f"Snakemake is running here as process {running}: wait for it, or stop it"
    else:
        yield f"a killed Snakemake left {left[0]}, behind which nothing runs on this machine: `snakemake --unlock`"


def _running(program: str) -> int | None:
    """A process of this machine that works in this folder and has the program's name in its command."""
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        words = [Path(word).name for word in process.info["cmdline"] or ()]
        if process.info["cwd"] == str(Path.cwd()) and program in words:
            return int(process.info["pid"])
    return None
