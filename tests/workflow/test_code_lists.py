"""What each stage says it depends on covers the code that ran in it, and is not much more."""

import json
from collections import defaultdict

import pytest

from tests.unit.test_house import imports
from tests.workflow.graphs import dvc_jobs
from tests.workspace import PROJECT, Workspace

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("smoke")]


def ran(run: Workspace) -> dict[str, dict[str, str]]:
    """Command -> the files of code that were loaded in it, as its event log says, with their hashes."""
    code = {}
    for log in sorted((run.folder / ".quintet/events").glob("*.jsonl")):
        events = [json.loads(line) for line in log.read_text().splitlines()]
        first = next(event for event in events if event["event"] == "begin")
        loaded = next(event for event in events if event["event"] == "code")
        code[f"python -m pipeline {first['stage']} {first['target'] or ''}".strip()] = loaded["files"]
    return code


def test_every_file_that_ran_is_a_dependency(dvc_run: Workspace):
    declared, loaded = {job.command: job.code for job in dvc_jobs(dvc_run.folder)}, ran(dvc_run)
    assert loaded.keys() == declared.keys()
    assert {command: sorted(files.keys() - declared[command]) for command, files in loaded.items()} == {key: [] for key in loaded}


def test_the_native_sources_are_a_dependency_where_the_extension_is_loaded(dvc_run: Workspace):
    rooms = [PROJECT / "native" / room for room in ("bindings", "include", "src")]
    sources = {file.relative_to(PROJECT).as_posix() for room in rooms for file in room.rglob("*.?pp")}
    declared = {job.command: job.code for job in dvc_jobs(dvc_run.folder)}
    users = {command for command, files in ran(dvc_run).items() if "pipeline/ops/native.py" in files}
    listing = {command for command, code in declared.items() if sources <= code}
    assert users and users <= listing
    assert all(not code & sources for command, code in declared.items() if command not in listing)
    assert {command.split()[3] for command in listing} == {command.split()[3] for command in users}, "no model of the stage needs it"


def test_no_dependency_is_out_of_reach():
    """Each file of code that a stage lists can be imported from the stage, directly or not, or by the name that the parameters give."""
    code: dict[str, set[str]] = defaultdict(set)
    for job in dvc_jobs():
        code[job.command.split()[3]] |= {file for file in job.code if file.endswith(".py")}
    for stage, listed in code.items():
        reached = reachable({f"pipeline/stages/{stage}.py", "pipeline/stages/runner.py"} | by_name(listed))
        assert listed - DEFINITIONS - reached == set(), stage


DEFINITIONS = {"pipeline/ops/reference_spiking.py"}
"""What a kernel is compared with by tests alone: it comes in with its folder."""


def by_name(code: set[str]) -> set[str]:
    """Files that are imported by a name out of params.yaml: families, formats, tasks, kinds of source."""
    rooms = tuple(f"pipeline/{room}/" for room in ("models", "conversion", "evaluation", "data/sources"))
    return {file for file in code if file.startswith(rooms)}


def reachable(files: set[str]) -> set[str]:
    """The files and all that they import, with the packages above them."""
    found: set[str] = set()
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        waiting += [part for full in imports(PROJECT / file) if full.startswith("pipeline.") for part in modules(full)]
    return found


def modules(full: str) -> list[str]:
    """Files behind `pipeline.a.b`: a/__init__.py and a/b.py, as far as they exist."""
    parts = full.split(".")
    candidates = [f"{'/'.join(parts[:n])}{ending}" for n in range(2, len(parts) + 1) for ending in (".py", "/__init__.py")]
    return [file for file in candidates if (PROJECT / file).is_file()]
