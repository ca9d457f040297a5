"""A Slurm cluster of one node, this machine: munged, slurmctld and slurmd, with their state in a folder, and stopped at the end."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.services import debian, unavailable

CONFIGURATION = Path("/etc/slurm/slurm.conf")
"""Where srun, which Snakemake's jobs start without Slurm's variables, looks for it, and nowhere else."""
OURS = "# Written for a test: it may be removed.\n"
SETTINGS = """ClusterName=local
SlurmctldHost=localhost
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=30
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=5,bf_interval=5
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
NodeName=localhost CPUs=2 RealMemory=64000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[None]:
    """The cluster for the time of a `with` block; skips (or fails) where it cannot be."""
    debian("slurm-wlm", "munge", commands=("munged", "slurmctld", "slurmd", "sbatch"))
    if os.geteuid() != 0:
        unavailable("only root can start slurmd and write /etc/slurm/slurm.conf")
    before = CONFIGURATION.read_text() if CONFIGURATION.exists() else ""
    if before and not before.startswith(OURS) and asked("scontrol", "ping").endswith("UP\n"):
        unavailable("this machine belongs to a cluster already")
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    CONFIGURATION.parent.mkdir(exist_ok=True)
    CONFIGURATION.write_text(OURS + SETTINGS.format(folder=folder, controller=free_port(), node=free_port()))
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for command in daemon_commands(folder):
            with (folder / f"{command[0]}.out").open("wb") as said:
                daemons.append(subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, "PATH": PATH}))
        wait_for("idle", "sinfo", "--noheader", "--format=%T", daemons=daemons, folder=folder)
        yield
    finally:
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):  # whatever is wrong, the daemons are to end
            asked("scancel", "--user=root", "--signal=KILL", "--full")
            asked("scancel", "--user=root")
            wait_for("", "squeue", "--noheader", daemons=daemons, folder=folder)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(timeout=60)
        if before and not before.startswith(OURS):
            CONFIGURATION.write_text(before)
        else:
            CONFIGURATION.unlink()


def daemon_commands(folder: Path) -> list[list[str]]:
    """In the order of their start. munged has a key, a socket and files of its own, beside which another one may run."""
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{option}={folder}/munge.{ending}" for option, ending in files.items()]
    return [["munged", "--foreground", "--force", *options], ["slurmctld", "-D"], ["slurmd", "-D", "-N", "localhost"]]


def asked(*command: str) -> str:
    """What a command of Slurm's prints."""
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60).stdout


def wait_for(text: str, *command: str, daemons: list[subprocess.Popen[bytes]], folder: Path) -> None:
    """Until the command prints the text and no more; `AssertionError` after two minutes, or when a daemon has ended."""
    end = time.monotonic() + 120
    while (said := asked(*command).strip()) != text:
        ended = [daemon.args for daemon in daemons if daemon.poll() is not None]
        if ended or time.monotonic() > end:
            logs = "".join(file.read_text()[-2000:] for pattern in ("*.out", "*.log") for file in sorted(folder.glob(pattern)))
            raise AssertionError(f"{' '.join(command)} says {said!r}, not {text!r}; ended: {ended}\n{logs}")
        time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])
