"""A clone of this project in a folder of its own, in which a test runs commands as a user would."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import yaml

PROJECT = Path(__file__).resolve().parent.parent
OUTSIDE = ("DVC_", "SNAKEMAKE", "PYTEST_", "MLFLOW_", "QUINTET_", "GIT_", "OMP_", "MAKE", "MFLAGS")
AUTHOR = {f"GIT_{who}_{what}": f"tests{sep}" for who in ("AUTHOR", "COMMITTER") for what, sep in (("NAME", ""), ("EMAIL", "@example.org"))}


def environment(**extra: str) -> dict[str, str]:
    """What a command sees: this Python's tools first on PATH, tracking off, nothing of the test run itself."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(OUTSIDE)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return {**kept, **AUTHOR, "PATH": path, "QUINTET_TRACKING": "off", **extra}


class Workspace:
    """The clone; `run` gives what a command printed on both streams, and raises with it where the exit code is not the expected one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = environment(DVC_SITE_CACHE_DIR=str(folder / ".quintet/dvc"))

    def run(self, *command: str, code: int | None = 0, **extra: str) -> str:
        env = {**self.environment, **extra}
        done = subprocess.run(command, cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800)
        if code is not None and done.returncode != code:
            raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}, not {code}\n{done.stdout}")
        return done.stdout

    def pipeline(self, *arguments: str, code: int | None = 0, **extra: str) -> str:
        return self.run("python", "-m", "pipeline", *arguments, code=code, **extra)

    def start(self, *command: str, **extra: str) -> subprocess.Popen[bytes]:
        """A process in a session of its own, so that its whole group can be killed; what it prints is `said`."""
        env = {**self.environment, **extra}
        with (self.folder / ".quintet/said.txt").open("wb") as said:
            return subprocess.Popen(command, cwd=self.folder, env=env, start_new_session=True, stdout=said, stderr=said)

    def said(self) -> str:
        """What the last started process printed."""
        return self.read(".quintet/said.txt").decode()

    def stages(self, *arguments: str) -> list[psutil.Process]:
        """Running processes of `python -m pipeline ARGUMENTS` in this folder."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.cmdline()[1:] == ["-m", "pipeline", *arguments] and Path(process.cwd()) == self.folder:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def checkpoints(self) -> list[Path]:
        """Resumable states of trainings that have not ended."""
        return sorted((self.folder / ".quintet/state").glob("*/*.safetensors"))

    def set(self, **values: Any) -> None:
        """Change params.yaml: dotted keys, `__` for a dot."""
        file = self.folder / "params.yaml"
        parameters = yaml.safe_load(file.read_text())
        for key, value in values.items():
            *parents, last = key.split("__")
            block = parameters
            for parent in parents:
                block = block[parent]
            block[last] = value
        file.write_text(yaml.safe_dump(parameters, sort_keys=False))

    def read(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()

    def commit(self) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", "--message", "results")

    def copy(self, folder: Path) -> "Workspace":
        """The same once more, results, caches and all, at another place."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Workspace(folder)


def project_files() -> list[str]:
    """Files of the project that are committed or could be, in their present state."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, check=True).stdout.decode()
    return sorted({name for name in listed.split("\0") if name and (PROJECT / name).is_file()})


def clone(folder: Path, preset: str = "smoke") -> Workspace:
    """The files that are or could be committed, in a new repository with `preset` in force; downloads are shared with the project's."""
    for name in project_files():
        if name != "dvc.lock" and not name.startswith(("metrics/", "plots/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, folder / name)
    downloads = PROJECT / ".quintet/downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    (folder / ".quintet").mkdir()
    (folder / ".quintet/downloads").symlink_to(downloads)
    shutil.copy(folder / f"presets/{preset}.yaml", folder / "params.yaml")
    workspace = Workspace(folder)
    workspace.run("git", "init", "--quiet", "--initial-branch=main")
    workspace.commit()
    return workspace
