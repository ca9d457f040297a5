"""The description of a ready data set, dataset.json."""

from pathlib import Path
from typing import Any

from pipeline import io
from pipeline.data.arithmetic import Codec
from pipeline.errors import UserError
from pipeline.paths import SPLITS

VERSION = 1
KINDS = {"kind": str, "name": str, "splits": dict, "source": dict}
"""What every data set's description holds."""
OF_TOKENS = ("language", "arithmetic")
AGAIN = "run the stage `tokenize` again"


def finish(summary: dict[str, Any], files: dict[str, Path], source: Any) -> dict[str, Any]:
    """Let validation stand in for a test split that is not there, and add hashes and provenance."""
    totals = summary["splits"]
    without_test = not totals["test"]["documents"]
    if without_test:
        files["test"].write_bytes(files["validation"].read_bytes())
        totals["test"] = dict(totals["validation"])
    for split in SPLITS:
        if not totals[split]["tokens"]:
            raise empty(split)
        totals[split]["sha256"] = io.sha256(files[split])
    return {**summary, "version": VERSION, "test_is_validation": without_test, "source": source}


def description(folder: Path) -> dict[str, Any]:
    """dataset.json of a ready data set; raises `UserError` naming the key where it is not what `finish` gave."""
    path = folder / "dataset.json"
    described = io.read_json(path)
    if not isinstance(described, dict):
        raise UserError(f"{path} is no JSON object: {AGAIN}")
    io.check_version(path, "version", described.get("version", 1), VERSION)
    for key, kind in KINDS.items():
        _require(path, described, key, kind)
    for split in SPLITS:
        facts = _require(path, described["splits"], split, dict, "splits.")
        _require(path, facts, "sha256", str, f"splits.{split}.")
        if wrong := [key for key, count in facts.items() if key != "sha256" and (type(count) is not int or count < 0)]:
            raise UserError(f"{path}: splits.{split}.{wrong[0]} is {facts[wrong[0]]!r}, not a count: {AGAIN}")
    _require(path, described["source"], "kind", str, "source.")
    if described["kind"] in OF_TOKENS and _require(path, described, "vocab_size", int) < 1:
        raise UserError(f"{path}: vocab_size is {described['vocab_size']}, not at least 1: {AGAIN}")
    if described["kind"] == "arithmetic":
        Codec.from_dict(_require(path, described, "codec", dict), f"{path}: codec")
    return described


def _require(path: Path, held: dict[str, Any], key: str, kind: type, prefix: str = "") -> Any:
    if type(held.get(key)) is not kind:
        found = repr(held[key]) if key in held else "missing"
        raise UserError(f"{path}: {prefix}{key} is {found}, but must be of type {kind.__name__}: {AGAIN}")
    return held[key]


def empty(split: str) -> UserError:
    """The error for a split without data."""
    return UserError(f"the {split} split is empty: give it a larger share, or give the data set more documents")
