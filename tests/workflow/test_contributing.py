"""CONTRIBUTING's recipes, done as they are written: a toy family, format and source go from raw data to evaluation."""

import json
import re
from pathlib import Path

import pytest

from tests.workspace import PROJECT, Workspace, clone

PAGE = (PROJECT / "CONTRIBUTING.md").read_text()
RECIPES = re.findall(r"<!-- (new|edit): (\S+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
STAGES = "download numbers, tokenize numbers, train counter, quantize counter, convert counter, evaluate counter"


def edited(text: str, change: str) -> str:
    """A file with a `diff` block's lines exchanged; the last of them may be the beginning of a line."""
    lines = change.removesuffix("\n").split("\n")
    old = "\n".join(line[1:] for line in lines if line[:1] != "+")
    new = "\n".join(line[1:] for line in lines if line[:1] != "-")
    assert text.count(f"\n{old}") == 1, f"CONTRIBUTING.md: {old!r} is not there once"
    return text.replace(f"\n{old}", f"\n{new}")


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A fresh copy of the project in which the whole page was followed, with its parameters in force."""
    workspace = clone(tmp_path_factory.mktemp("contributing") / "quintet")
    for kind, path, text in RECIPES:
        file = workspace.folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text if kind == "new" else edited(file.read_text(), text))
    (parameters,) = re.findall(r"<!-- params -->\n```yaml\n(.*?)```", PAGE, re.DOTALL)
    (workspace.folder / "params.yaml").write_text(parameters)
    workspace.pipeline("schema")
    return workspace


def test_toys_go_from_raw_data_to_evaluation(followed: Workspace) -> None:
    script = "from pipeline.stages.runner import run\n" + "".join(f"run(*{stage.split()!r})\n" for stage in STAGES.split(", "))
    followed.run("python", "-c", script, OMP_NUM_THREADS="1")
    figures = json.loads(followed.read("metrics/counter/evaluate.json"))
    assert {"float", "quantized", "lists"} <= figures.keys()
    assert figures["lists"]["bits_per_byte"] == pytest.approx(figures["quantized"]["bits_per_byte"], rel=1e-4)
    assert figures["float"]["bits_per_byte"] < figures["baselines"]["unigram"]["bits_per_byte"]
    assert (followed.folder / "exports/counter/lists/weights.json").is_file()
    said = followed.run("bash", "-c", "printf '/temp 0\n/tokens 5\n12 13\n' | python -m pipeline console counter 2>/dev/null")
    assert len(said) > 1


def test_both_graphs_know_the_toys(followed: Workspace) -> None:
    assert "evaluate@counter" in followed.run("dvc", "stage", "list", "--name-only")
    listed = followed.run("python", "-c", "from dvc.repo import Repo; print(*sorted(d.def_path for s in Repo().index.stages for d in s.deps))")
    assert "pipeline/models/fading" in listed.split()
    planned = followed.run("python", "-m", "snakemake", "-n", "--forceall")  # whether or not it has run
    assert "wildcards: model=counter" in planned and re.search(r"^train +1$", planned, re.MULTILINE)


def test_every_section_has_a_recipe() -> None:
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:4]
    assert [section.splitlines()[0] for section in sections] == ["A new family", "A new export format", "A new source of data"]
    assert all("<!-- new: " in section and "<!-- edit: " in section for section in sections)
    assert all((PROJECT / path).is_file() for kind, path, _ in RECIPES if kind == "edit")
    assert not any((PROJECT / path).exists() for kind, path, _ in RECIPES if kind == "new")


def test_a_recipe_that_no_longer_fits_is_noticed(tmp_path: Path) -> None:
    assert edited("a\nFAMILIES = {\n}\n", " FAMILIES = {\n+    1,\n") == "a\nFAMILIES = {\n    1,\n}\n"
    with pytest.raises(AssertionError, match="is not there once"):
        edited("a\nOTHERS = {\n}\n", " FAMILIES = {\n+    1,\n")
