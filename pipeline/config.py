"""Configuration: the only reader of params.yaml.

A mistake stops before any work with one sentence that names key, value and remedy. Each stage sees only the keys listed for it in
`STAGE_PARAMETERS`, which DVC and Snakemake list too: what a stage could read without declaring it would make `dvc repro` lie.
"""

import difflib
import re
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from pipeline import paths
from pipeline.errors import UserError
from pipeline.schema.base import Block, Name
from pipeline.schema.data import Dataset
from pipeline.schema.models import Model

STAGE_PARAMETERS: dict[str, tuple[str, ...]] = {
    "download": ("seed", "datasets.{dataset}"),
    "tokenize": ("seed", "datasets.{dataset}"),
    "train": ("seed", "models.{model}.family", "models.{model}.dataset", "models.{model}.architecture", "models.{model}.training"),
    "quantize": ("seed", "models.{model}.dataset", "models.{model}.quantization"),
    "convert": ("models.{model}.dataset", "models.{model}.formats"),
    "evaluate": ("seed", "models.{model}.dataset", "models.{model}.evaluation"),
    "report": ("seed", "datasets", "models"),
}


class Config(Block):
    """The whole of params.yaml."""

    seed: int = Field(ge=0, lt=1 << 63)
    datasets: dict[Name, Dataset] = Field(min_length=1)
    models: dict[Name, Model] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_agree(self) -> "Config":
        for name, model in self.models.items():
            if model.dataset not in self.datasets:
                raise ValueError(f"models.{name}.dataset = {model.dataset!r} is not under datasets: choose one of {sorted(self.datasets)}")
            carried = [training for training in (model.training, model.quantization.training) if training and training.carry_state]
            if carried and self.datasets[model.dataset].kind != "text":
                raise ValueError(
                    f"models.{name}: carry_state needs one long text, and the data set {model.dataset!r} has none: leave it out"
                )
            if sentence := model.mismatch(self.datasets[model.dataset]):
                raise ValueError(f"models.{name}: {sentence}")
        return self


def load(path: Path = paths.PARAMETERS) -> Config:
    """Read and check params.yaml (or a preset); raises `UserError`."""
    return parse(_read(path), str(path))


def parse(data: Any, origin: str) -> Config:
    """Check parameters that were already read; `origin` begins the sentence of any error."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{origin}: {explain(error, data)}") from None


def parse_text(text: str, origin: str) -> Config:
    """Check parameters that are YAML still, as `parse` does."""
    return parse(_parsed(text, origin), origin)


def _read(path: Path) -> Any:
    try:
        return _parsed(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise UserError(f"there is no {path}: run this in the root folder of a Quintet project") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None


def _parsed(text: str, origin: str) -> Any:
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise UserError(f"{origin} is not valid YAML: it is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # a date or a number that Python has none of is a ValueError
        raise UserError(f"{origin} is not valid YAML: {' '.join(str(error).split())}") from None


def explain(error: ValidationError, data: Any) -> str:
    """The first mistake as one sentence: key, value, what is wrong, what to write instead."""
    first, *others = error.errors()
    key = ".".join(str(part) for part in _real_location(first["loc"], data))
    more = f" (and {len(others)} more)" if others else ""
    match first["type"]:
        case "extra_forbidden":
            allowed = _allowed(first["loc"], data)
            near = difflib.get_close_matches(str(first["loc"][-1]), allowed, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known here are {', '.join(allowed)}" if allowed else "remove it"
            return f"{key} is not a known key: {hint}{more}"
        case "missing":
            return f"{key} is missing: add it{more}"
        case "value_error":
            block = ".".join(str(part) for part in _real_location((*first["loc"], ""), data)[:-1])
            message = first["msg"].removeprefix("Value error, ")
            return f"{block + ': ' if block else ''}{message}{more}"
    if first["type"] == "union_tag_invalid":
        context = first["ctx"]
        tag = context["discriminator"].strip("'")
        return f"{key}.{tag} = {context['tag']!r}: choose one of {context['expected_tags']}{more}"
    return f"{key} = {first['input']!r}: {first['msg'][0].lower() + first['msg'][1:]}{more}"


def _real_location(location: tuple[int | str, ...], data: Any) -> list[int | str]:
    """pydantic puts a union's tag into the location; keep only the parts that lead somewhere in the file."""
    kept: list[int | str] = []
    for i, part in enumerate(location):
        if part == "[key]" or (isinstance(data, dict) and part not in data and i < len(location) - 1):
            continue
        kept.append(part)
        data = data.get(part) if isinstance(data, dict) else None
    return kept


def _allowed(location: tuple[int | str, ...], data: Any) -> list[str]:
    """Names of the keys that may stand beside an unknown one, from the JSON schema."""
    from pipeline.schema.families import FAMILIES

    schema = json_schema()
    parts = [str(part) for part in location[:-1]]
    if len(parts) >= 3 and parts[0] == "models" and parts[2] == "architecture":
        return sorted(FAMILIES[data["models"][parts[1]]["family"]].model_fields)
    node: Any = schema
    for part in parts:
        node = _step(schema, node, part)
    return sorted(_resolve(schema, node).get("properties", {}))


def _resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].split("/")[-1]]
    return node


def _step(schema: dict[str, Any], node: Any, part: str) -> dict[str, Any]:
    node = _resolve(schema, node)
    if part in node.get("properties", {}):
        return cast("dict[str, Any]", node["properties"][part])
    if part in node.get("discriminator", {}).get("mapping", {}):
        return {"$ref": node["discriminator"]["mapping"][part]}
    extra: Any = node.get("additionalProperties") or next(iter(node.get("patternProperties", {}).values()), {})
    return extra if isinstance(extra, dict) else {}


def json_schema() -> dict[str, Any]:
    """JSON schema of params.yaml, which Snakemake's `validate` uses (`workflow/params.schema.yaml`)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def keys(stage: str, target: str | None) -> tuple[str, ...]:
    """The parameter keys that a stage depends on, spelled as DVC spells them."""
    return tuple(key.format(dataset=target, model=target) for key in STAGE_PARAMETERS[stage])


def select(config: Config, stage: str, target: str | None) -> dict[str, Any]:
    """The values of a stage's keys, defaults filled in: what its training key and its event log record."""
    tree = config.model_dump(mode="json")
    return {key: _follow(tree, key) for key in keys(stage, target)}


def _follow(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree[part]
    return tree


def restrict(config: Config, stage: str, target: str | None) -> Config:
    """The configuration as a stage may see it: touching a key that is not declared for the stage raises `LookupError`."""
    return cast("Config", _View(config, "", frozenset(keys(stage, target)), stage))


class _View:
    def __init__(self, node: Any, path: str, allowed: frozenset[str], stage: str) -> None:
        self._node, self._path, self._allowed, self._stage = node, path, allowed, stage

    def _child(self, name: str, value: Any) -> Any:
        path = f"{self._path}.{name}".lstrip(".")
        if any(path == key or path.startswith(key + ".") for key in self._allowed):
            return value
        if any(key.startswith(path + ".") for key in self._allowed):
            return _View(value, path, self._allowed, self._stage)
        raise LookupError(f"stage {self._stage} reads {path}, which STAGE_PARAMETERS does not declare for it")

    def __getattr__(self, name: str) -> Any:
        return self._child(name, getattr(self._node, name))

    def __getitem__(self, name: str) -> Any:
        return self._child(name, self._node[name])


def unknown_target(kind: str, name: str, known: list[str]) -> UserError:
    near = difflib.get_close_matches(name, known, 1)
    return UserError(f"{paths.PARAMETERS} has no {kind} {name!r}: {f'did you mean {near[0]!r}?' if near else f'it has {known}'}")


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping with dotted keys, as MLflow and people compare them."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for name, item in value.items() for k, v in flatten(item, f"{prefix}.{name}".lstrip(".")).items()}


def preset(name: str) -> Path:
    """File of a preset; raises `UserError` for an unknown one."""
    known = sorted(path.stem for path in paths.PRESETS.glob("*.yaml"))
    if name not in known or not re.fullmatch(r"[a-z0-9_-]+", name):
        raise UserError(f"there is no preset {name!r}: choose one of {', '.join(known)}")
    return paths.PRESETS / f"{name}.yaml"
