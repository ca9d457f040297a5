"""README: its commands exist, those marked `<!-- test: fast -->` run, and each promise names tests that exist."""

import ast
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from pipeline.__main__ import app
from tests.workspace import PROJECT, Workspace

README = (PROJECT / "README.md").read_text()
BLOCKS = re.findall(r"(<!-- test: fast -->\n)?```console\n(.*?)```", README, re.DOTALL)


def commands(block: str) -> list[str]:
    """Lines after `$ `, without what is said beside them."""
    return [" ".join(shlex.split(line[2:], comments=True)) for line in block.splitlines() if line.startswith("$ ")]


EVERY = [command for _, block in BLOCKS for command in commands(block)]
FAST = [command for mark, block in BLOCKS if mark for command in commands(block)]


def test_commands_exist():
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    known = set(get_command(app).commands)
    named = {word for command in EVERY for word in re.findall(r"^make ([a-z-]+)", command)}
    called = {word for command in EVERY for word in re.findall(r"^python -m pipeline ([a-z-]+)", command)}
    assert (named - targets, called - known) == (set(), set()) and named and called


@pytest.mark.slow
@pytest.mark.xdist_group("smoke")
def test_fast_commands_run(dvc_run: Workspace, tmp_path: Path):
    """In a project with the results of preset `smoke`."""
    workspace = dvc_run.copy(tmp_path / "quintet")
    assert FAST
    for command in FAST:
        workspace.run("bash", "-c", command)


def promises() -> list[tuple[str, list[str]]]:
    """Rows of the table under the heading `Promises`: what is promised, and the tests that it names."""
    section = re.search(r"^## Promises.*?\n(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE)
    assert section, "README has no section of promises"
    rows = [line.strip("| ").split("|") for line in section[1].splitlines() if line.startswith("|")][2:]
    return [(cells[0].strip(), re.findall(r"tests/[\w/.]+(?:::\w+)?", "|".join(cells[1:]))) for cells in rows]


def test_every_promise_names_a_test():
    assert len(promises()) >= 5
    assert [what for what, tests in promises() if not tests] == []


def test_the_tests_of_the_promises_exist():
    missing = []
    for _, tests in promises():
        for test in tests:
            file, _, function = test.partition("::")
            path = PROJECT / file
            if not path.exists() or (function and function not in functions(path)):
                missing.append(test)
    assert missing == []


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_links_lead_to_files():
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)\)", README)
    assert links and [link for link in links if not (PROJECT / link).exists()] == []


def test_presets_are_named():
    assert all(f"`{preset.stem}`" in README for preset in (PROJECT / "presets").glob("*.yaml"))
