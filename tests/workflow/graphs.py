"""Both descriptions of the graph, resolved into the same form."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from dvc.repo import Repo

from tests.workspace import PROJECT, environment


class Job(NamedTuple):
    """One stage of one data set or model."""

    command: str
    inputs: frozenset[str]
    outputs: frozenset[str]
    code: frozenset[str]
    parameters: frozenset[str]


def is_code(path: str) -> bool:
    return path.startswith(("pipeline/", "native/"))


def expand(path: str, root: Path = PROJECT) -> list[str]:
    """A file itself, or the files below a folder."""
    if not (root / path).is_dir():
        return [path]
    files = [file for file in (root / path).rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    return [file.relative_to(root).as_posix() for file in files]


def dvc_jobs(root: Path = PROJECT) -> set[Job]:
    """Stages of dvc.yaml with all variables filled in; a folder of metrics or plots stands for the outputs in it."""
    with Repo(str(root)) as repo:
        stages = [stage for stage in repo.index.stages if stage.cmd]
        outputs = {out.def_path for stage in stages for out in stage.outs}
        return {_dvc_job(stage, outputs, root) for stage in stages}


def _dvc_job(stage, outputs: set[str], root: Path) -> Job:
    paths = [dep.def_path for dep in stage.deps if not hasattr(dep, "params")]
    files = [path for path in paths if not is_code(path)]
    inputs = {below for path in files for below in _inside(path, outputs)}
    keys = {key for dep in stage.deps if hasattr(dep, "params") for key in dep.params}
    code = {file for path in paths if is_code(path) for file in expand(path, root)}
    return Job(stage.cmd, *map(frozenset, (inputs, {out.def_path for out in stage.outs}, code, keys)))


def _inside(path: str, outputs: set[str]) -> list[str]:
    return [path] if path in outputs else [output for output in outputs if output.startswith(f"{path}/")]


def snakemake_jobs(root: Path = PROJECT) -> set[Job]:
    """Jobs of the Snakefile as a forced dry run would start them."""
    done = subprocess.run([sys.executable, __file__], cwd=root, env=environment(PYTHONPATH="."), capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(done.stderr)
    return {Job(job[0], *map(frozenset, job[1:])) for job in json.loads(done.stdout)}


def _resolve() -> list[list]:
    """Runs in a process of its own, since Snakemake changes the process it is in."""
    from snakemake.api import DAGSettings, OutputSettings, ResourceSettings, SnakemakeApi

    with SnakemakeApi(OutputSettings(quiet={"all"})) as api:
        dag = api.workflow(resource_settings=ResourceSettings(cores=2), snakefile=Path("Snakefile")).dag(DAGSettings(forceall=True))
        dag.execute_workflow(executor="dryrun")
        jobs = [job for job in dag.workflow_api._workflow.dag.jobs if job.rule.name != "all"]
    return [_snakemake_job(job) for job in jobs]


def _snakemake_job(job) -> list:
    command = job.shellcmd.partition(" > ")[0].strip()
    files = {str(file) for file in job.input}
    keys = [value.partition(" = ")[0] for value in job.params.parameters]
    return [command, [f for f in files if not is_code(f)], [str(f) for f in job.output], [f for f in files if is_code(f)], keys]


if __name__ == "__main__":
    json.dump(_resolve(), sys.stdout)
