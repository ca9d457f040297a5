"""Which parameters are in force: put a preset in place, remove what other parameters left behind, write the schema."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from pipeline import config as configuration
from pipeline import io, paths
from pipeline.config import Config
from pipeline.errors import UserError

SCHEMA_HEADER = "# JSON schema of params.yaml. `python -m pipeline schema` writes it from pipeline/schema.\n"


def select(name: str, force: bool = False) -> None:
    """Make preset `name` the parameters in force; raises `UserError` where that would lose an edit made by hand."""
    source = configuration.preset(name)
    config = configuration.load(source)
    if not force and _edited_by_hand():
        raise UserError(f"{paths.PARAMETERS} has edits that are in no preset and not committed: commit them, or say --force to lose them")
    io.write_bytes(paths.PARAMETERS, source.read_bytes())
    print(f"{paths.PARAMETERS} is now preset {name}: {_names('model', config.models)} on {_names('data set', config.datasets)}.")
    if leftovers(config):
        print("Results of other models are still here, which the report leaves out: `python -m pipeline clean --yes` removes them.")
    print("Run `make repro` (DVC) or `make repro-snakemake` next; `dvc params diff` shows what differs from the last commit.")


def _edited_by_hand() -> bool:
    """Whether params.yaml holds what neither a preset nor the last commit does, so that nobody could bring it back."""
    if not paths.PARAMETERS.is_file():
        return False
    known = [preset.read_bytes() for preset in paths.PRESETS.glob("*.yaml")]
    return paths.PARAMETERS.read_bytes() not in [*known, _committed()]


def _committed() -> bytes | None:
    """params.yaml of the last commit; None outside git."""
    try:
        return subprocess.run(["git", "show", f"HEAD:./{paths.PARAMETERS}"], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def _names(what: str, named: Iterable[str]) -> str:
    names = list(named)
    return f"{what}{'s' if len(names) > 1 else ''} {', '.join(names)}"


def leftovers(config: Config) -> list[Path]:
    """Folders of results whose data set or model the parameters do not name."""
    of_datasets = [paths.raw("x").parent, paths.ready("x").parent]
    of_models = [*(folder("x").parent for folder in (paths.model, paths.quantized, paths.exports)), paths.METRICS, paths.PLOTS]
    groups = [(of_datasets, set(config.datasets)), (of_models, set(config.models))]
    found = [child for folders, known in groups for folder in folders for child in folder.glob("*") if child.name not in known]
    return sorted(path for path in found if path.is_dir())


def clean(yes: bool = False) -> None:
    """List the leftovers, and remove them if `yes`."""
    found = leftovers(configuration.load())
    for path in found:
        print(path)
    if not found:
        print(f"Nothing to remove: every folder of results belongs to {paths.PARAMETERS}.")
    elif not yes:
        print(f"{paths.PARAMETERS} names none of these: `python -m pipeline clean --yes` removes them.")
    else:
        for path in found:
            shutil.rmtree(path)
        print("Removed; `dvc checkout` brings back what the last commit's dvc.lock names.")


def add(name: str, dataset: dict[str, Any], model: dict[str, Any]) -> None:
    """Put a data set and a model of one name before the others of params.yaml, whose text stays as it is; raises `UserError`."""
    known = configuration.load()
    for kind, names in (("data set", known.datasets), ("model", known.models)):
        if name in names:
            raise UserError(f"{paths.PARAMETERS} has a {kind} {name!r} already: choose another name by --name, or remove that one")
    text = paths.PARAMETERS.read_text(encoding="utf-8")
    for section, block in (("datasets", dataset), ("models", model)):
        text = _inserted(text, section, name, block)
    configuration.parse_text(text, f"{paths.PARAMETERS} with {name}")
    io.write_bytes(paths.PARAMETERS, text.encode())


def _inserted(text: str, section: str, name: str, block: dict[str, Any]) -> str:
    """The text with one more entry at the beginning of a section, indented as that section is."""
    head = re.search(rf"^{section}:[ \t]*(?:#.*)?\n(?:[ \t]*(?:#.*)?\n)*(?=([ \t]+)\S)", text, re.MULTILINE)
    if head is None:
        raise UserError(f"{paths.PARAMETERS}: the entries of {section} are not one below the other: write them so, or add {name} by hand")
    written = yaml.safe_dump({name: block}, sort_keys=False, default_flow_style=None, width=120)
    entry = "".join(f"{head[1]}{line}\n" for line in written.splitlines())
    end = text.index("\n", head.start()) + 1
    return f"{text[:end]}{entry}\n{text[end:]}"


def schema_text() -> str:
    """The JSON schema of params.yaml, as YAML."""
    return SCHEMA_HEADER + yaml.safe_dump(configuration.json_schema(), sort_keys=True, allow_unicode=True, width=120)


def write_schema() -> None:
    """Write the schema where Snakefile looks for it."""
    io.write_bytes(paths.SCHEMA, schema_text().encode())
    print(paths.SCHEMA)
