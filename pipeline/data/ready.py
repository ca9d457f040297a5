"""The description of a ready data set, dataset.json."""

from pathlib import Path
from typing import Any

from pipeline import io
from pipeline.errors import UserError
from pipeline.paths import SPLITS


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
    return {**summary, "test_is_validation": without_test, "source": source}


def empty(split: str) -> UserError:
    """The error for a split without data."""
    return UserError(f"the {split} split is empty: give it a larger share, or give the data set more documents")
