"""The other ways to install, and what surrounds the code, in step with the lock and the project's own description."""

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from tests.workspace import PROJECT, environment

DESCRIPTION = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
CONDA = yaml.safe_load((PROJECT / "environment.yaml").read_text())["dependencies"]
CONTAINER = (PROJECT / "Containerfile").read_text()
STEPS = re.findall(r"^(FROM|RUN|COPY|WORKDIR|ENV|CMD) (.+)$", CONTAINER, re.MULTILINE)


def python_of_conda() -> str:
    return next(entry.removeprefix("python=") for entry in CONDA if isinstance(entry, str) and entry.startswith("python="))


def test_all_ways_have_one_python_that_the_project_allows() -> None:
    image = re.search(r"^FROM \S*python:(\d+\.\d+)-", CONTAINER, re.MULTILINE)
    snakemake = re.search(r"python:(\d+\.\d+)\.\d+-", (PROJECT / "Snakefile").read_text())
    assert image and snakemake and {image[1], snakemake[1]} == {python_of_conda()}
    assert SpecifierSet(DESCRIPTION["requires-python"]).contains(python_of_conda())


def test_versions_are_in_the_lock_only() -> None:
    """The conda environment takes the lock as it is, and says nothing of its own but Python's version."""
    (pip,) = [entry["pip"] for entry in CONDA if isinstance(entry, dict)]
    assert pip == ["-r requirements.lock"] and (PROJECT / "requirements.lock").is_file()
    assert [entry for entry in CONDA if isinstance(entry, str) and "=" in entry] == [f"python={python_of_conda()}"]
    assert "pip install" not in CONTAINER  # what is installed there is what `make install` installs


def test_both_bring_the_same_tools() -> None:
    (packages,) = re.findall(r"apt-get install --yes --no-install-recommends ([^&]+)&&", CONTAINER)
    names = {"gxx": "g++"}
    assert set(packages.split()) == {names.get(entry, entry) for entry in CONDA if isinstance(entry, str)} - {
        f"python={python_of_conda()}",
        "pip",
    }


def test_each_step_of_the_image_has_the_files_it_needs(tmp_path: Path) -> None:
    """`make` plans every target of the image from what was copied before it, and from nothing else."""
    planned = []
    for step, text in STEPS:
        if step == "COPY":
            *sources, _ = shlex.split(text)
            for source in sources:
                _copy(source, tmp_path)
        for target in re.findall(r"make (\w+)", text) if step == "RUN" else []:
            done = subprocess.run(["make", "--dry-run", target], cwd=tmp_path, env=environment(), capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            planned.append((target, "pip install" in done.stdout))
    assert planned == [("install", True), ("build", True)]


def _copy(source: str, folder: Path) -> None:
    if source != ".":
        shutil.copy(PROJECT / source, folder / source)
        return
    ignored = [line for line in (PROJECT / ".containerignore").read_text().splitlines() if line and not line.startswith("#")]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, listed):
        if name.split("/")[0] not in ignored and (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, folder / name)


def test_the_image_leaves_out_only_what_is_made() -> None:
    ignored = [line for line in (PROJECT / ".containerignore").read_text().splitlines() if line and not line.startswith("#")]
    tracked = subprocess.run(["git", "ls-files", "--", *ignored], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert tracked == ""


def test_citation_and_changelog_are_of_this_version() -> None:
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (DESCRIPTION["version"], DESCRIPTION["license"])
    newest = re.search(r"^## \[([^]]+)\]", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == DESCRIPTION["version"]


@pytest.mark.parametrize("hook", yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"], ids=lambda h: h["id"])
def test_hooks_are_the_lint_of_make_and_of_this_python(hook: dict) -> None:
    python, _, module, *_ = hook["entry"].split()
    assert (python, hook["language"]) == (".venv/bin/python", "system")
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert lint and (module in lint[1] or module == "pytest")
