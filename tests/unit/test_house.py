"""The house rules: which way imports point, who may touch what, how long a file may be."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline.config import STAGE_PARAMETERS
from pipeline.schema.families import FAMILIES
from pipeline.schema.formats import FORMATS
from tests.workspace import PROJECT, project_files

FLOORS = [
    {"errors"},
    {"paths", "schema", "config"},
    {"io", "rng", "progress", "tracking", "ops", "tensors"},
    {"models", "data"},
    {"training", "quantization", "conversion", "evaluation", "report"},
    {"report"},
    {"stages", "apps"},
    {"__main__"},
]
"""Import arrows point down or stay on the floor."""
SIDEWAYS = {("conversion", "quantization"), ("evaluation", "quantization")}
"""The only arrows between two rooms of the fourth floor: both judge the packed model."""
SIBLINGS = {
    "models": set(FAMILIES),
    "conversion": set(FORMATS),
    "data/sources": {"package", "http", "local", "hub"},
    "stages": set(STAGE_PARAMETERS),
}
"""Files (or folders) that are alternatives to each other, so that each can be read, replaced or removed alone."""
LIBRARIES = {
    "mlflow": {"tracking"},
    "quintet_native": {"ops"},
    "onnx": {"conversion", "evaluation"},
    "onnxruntime": {"conversion", "evaluation"},
    "transformers": {"conversion", "evaluation", "data"},
    "gguf": {"conversion", "evaluation"},
    "pickle": set(),
    "shelve": set(),
    "marshal": set(),
    "dill": set(),
    "joblib": set(),
}
"""Rooms that alone may import a library."""


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def sources(folder: str = "pipeline") -> list[Path]:
    return sorted((PROJECT / folder).rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def room(path: Path) -> str:
    return path.relative_to(PROJECT / "pipeline").parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Full names that a file imports, also inside functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor(place: str) -> int:
    return next(i for i, rooms in enumerate(FLOORS) if place in rooms)


def test_every_room_has_a_floor():
    assert {room(path) for path in sources()} - {"__init__"} == set().union(*FLOORS)


def test_imports_point_down():
    wrong = []
    for path in sources():
        for target in (full.split(".")[1] for full in imports(path) if full.startswith("pipeline.")):
            source = room(path)
            if "__init__" in (source, target) or source == target or target == "__version__":
                continue
            sideways = floor(source) == floor(target) == 4 and (source, target) not in SIDEWAYS
            if floor(target) > floor(source) or sideways:
                wrong.append(f"{name(path)} imports pipeline.{target}")
    assert wrong == []


@pytest.mark.parametrize("folder", SIBLINGS)
def test_siblings_do_not_know_each_other(folder):
    siblings, package = SIBLINGS[folder], f"pipeline.{folder.replace('/', '.')}."
    for stem in siblings:
        known = {
            full.removeprefix(package).split(".")[0]
            for path in (PROJECT / f"pipeline/{folder}/{stem}.py", *sources(f"pipeline/{folder}/{stem}"))
            if path.exists()
            for full in imports(path)
            if full.startswith(package)
        }
        assert known & (siblings - {stem}) == set()


@pytest.mark.parametrize("library", LIBRARIES)
def test_libraries_stay_in_their_rooms(library):
    users = {name(path) for path in sources() if any(full.split(".")[0] == library for full in imports(path))}
    assert {user for user in users if user.split("/")[1].removesuffix(".py") not in LIBRARIES[library]} == set()


def test_nothing_is_unpickled():
    """torch.load and torch.save go through pickle, and so does numpy where it is allowed to."""
    wrong = []
    for path in sources():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "torch.save"):
                wrong.append(f"{name(path)}:{node.lineno}: {ast.unparse(node)}")
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
                wrong.append(f"{name(path)}:{node.value.lineno}: allow_pickle")
    assert wrong == []


def test_only_the_configuration_reads_params_yaml():
    readers = {name(path) for path in sources() if re.search(r"yaml\.(safe_)?load", path.read_text())}
    assert readers == {"pipeline/config.py"}
    named = {name(path) for path in sources() if re.search(r"\bpaths\.PARAMETERS\b|params\.yaml\"\)", path.read_text())}
    others = {"pipeline/apps/presets.py", "pipeline/stages/runner.py"}  # one replaces the file, one names it in an error
    assert named == {"pipeline/paths.py", "pipeline/config.py"} | others


def test_only_the_runner_publishes():
    callers = {name(path) for path in sources() if re.search(r"\.publish\(", path.read_text())}
    assert callers == {"pipeline/stages/runner.py"}


def test_stages_read_no_clock_and_no_environment():
    """What a stage writes may depend on code, parameters and inputs alone."""
    volatile = re.compile(r"\b(time\.time|datetime|os\.environ|os\.getenv|gethostname|getpid|uuid)\b")
    rooms = {"stages", "data", "models", "training", "quantization", "conversion", "evaluation", "report"}
    found = {name(path): sorted(set(volatile.findall(path.read_text()))) for path in sources() if room(path) in rooms}
    assert {file: uses for file, uses in found.items() if uses} == VOLATILE


VOLATILE = {
    "pipeline/data/sources/http.py": ["os.environ"],  # QUINTET_MIRROR: another place for bytes whose hash is checked
    "pipeline/training/cards.py": ["getpid", "uuid"],  # who holds which CUDA device, for those who wait for one
    "pipeline/training/devices.py": ["os.environ"],  # CUBLAS_WORKSPACE_CONFIG, which makes a GPU's sums repeatable
}
"""Files of those rooms that use something volatile, which never reaches an output."""


@pytest.mark.parametrize("folder", ["pipeline", "tests", "bench"])
def test_files_and_functions_are_short(folder):
    long = [f"{name(p)}: {n} lines" for p in sources(folder) if (n := len(p.read_text().splitlines())) > 300]
    for path in sources(folder):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (n := node.end_lineno - node.lineno + 1) > 50:
                long.append(f"{name(path)}:{node.lineno}: {node.name} has {n} lines")
    assert long == []


def test_native_files_are_short():
    files = [path for path in (PROJECT / "native").rglob("*") if path.suffix in {".cpp", ".hpp", ".cu", ".cuh"}]
    assert files and [f"{name(p)}: {n} lines" for p in files if (n := len(p.read_text().splitlines())) > 300] == []


def test_public_functions_are_described():
    """Every public class, and every public function of a module, says what it is; a protocol's members speak for themselves."""
    silent = []
    for path in sources():
        for node in tree(path).body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node) and len(node.body) > 3:
                silent.append(f"{name(path)}:{node.lineno}: {node.name}")
        if path.read_text().strip() and not ast.get_docstring(tree(path)):
            silent.append(name(path))
    assert silent == []


def test_no_path_of_somebodys_machine():
    pattern = re.compile(r"(?<![\w.])/(?:work|home|root|Users|mnt)/\w")
    found = []
    for path in project_files():
        try:
            text = (PROJECT / path).read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{path}:{i}: {line.strip()[:80]}" for i, line in enumerate(text.splitlines(), 1) if pattern.search(line)]
    assert found == []


def test_lock_satisfies_the_project():
    """requirements.lock pins an exact version for whatever pyproject.toml asks for, and says nothing of where it comes from."""
    lines = [line for line in (PROJECT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line) for line in lines)
    pinned = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    asked = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    asked += [entry for extra in project["project"]["optional-dependencies"].values() for entry in extra]
    unmet = [a for a in map(Requirement, asked) if not a.specifier.contains(pinned.get(canonicalize_name(a.name), "0"), prereleases=True)]
    assert unmet == []
