"""`python -m pipeline results`: the table of results, where the report lies, how to look at the runs."""

import sys
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipeline import io, paths
from pipeline.report import figures

WIDTH = 140
"""Of the table where the output is no terminal."""


def show() -> None:
    """Print what report/summary.json says; raises `UserError` where there is none yet."""
    rows = io.read_json(paths.SUMMARY)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    console.print(table(rows))
    console.print(f"Report: {paths.REPORT.resolve()}", soft_wrap=True)
    console.print(
        "Runs:   python -m pipeline ui   (MLflow; the same as .venv/bin/mlflow ui --backend-store-uri sqlite:///mlflow.db)", soft_wrap=True
    )


def table(rows: list[dict[str, Any]]) -> Table:
    """One line a model: the figure that sums it up, float and at five levels, beside the strongest baseline, and sizes."""
    made = Table(title="Results on the test split", title_justify="left", box=SIMPLE_HEAD)
    made.add_column("model", style="bold")
    made.add_column("judged by")
    for column in ("float", "five levels", "to beat", "float file", "5-level file", "bits/weight"):
        made.add_column(column, justify="right")
    made.add_column("exports")
    for row in rows:
        headline = row["headline"]
        beat = "" if row["baseline"] is None else f"{figures.write(headline, row['baseline_value'])} ({figures.title(row['baseline'])})"
        made.add_row(
            row["model"],
            figures.title(headline),
            figures.write(headline, row[f"float_{headline}"]),
            figures.write(headline, row[f"quantized_{headline}"]),
            beat,
            figures.size(row["float_bytes"]),
            figures.size(row["quantized_bytes"]),
            figures.write("bits", row["packed_bits_per_weight"]),
            row["formats"],
        )
    return made
