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


COLUMNS = ("model", "judged by", "float", "five levels", "to beat", "float file", "5-level file", "bits/weight", "exports")
NUMBERS = COLUMNS[2:8]
"""Columns that are set flush right."""


def show(as_markdown: bool) -> None:
    """Print what report/summary.json says; raises `UserError` where there is none yet."""
    rows = io.read_json(paths.SUMMARY)
    if as_markdown:
        print(markdown(rows), end="")
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    console.print(table(rows))
    console.print(f"Report: {paths.REPORT.resolve()}", soft_wrap=True)
    console.print(
        "Runs:   python -m pipeline ui   (MLflow; the same as .venv/bin/mlflow ui --backend-store-uri sqlite:///mlflow.db)", soft_wrap=True
    )


def cells(row: dict[str, Any]) -> list[str]:
    """One model: the figure that sums it up, float and at five levels, beside the strongest baseline, and sizes."""
    headline = row["headline"]
    beat = "" if row["baseline"] is None else f"{figures.write(headline, row['baseline_value'])} ({figures.title(row['baseline'])})"
    return [
        row["model"],
        figures.title(headline),
        figures.write(headline, row[f"float_{headline}"]),
        figures.write(headline, row[f"quantized_{headline}"]),
        beat,
        figures.size(row["float_bytes"]),
        figures.size(row["quantized_bytes"]),
        figures.write("bits", row["bits_per_weight_on_disk"]),
        row["formats"],
    ]


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows for a terminal."""
    made = Table(title="Results on the test split", title_justify="left", box=SIMPLE_HEAD)
    for column in COLUMNS:
        made.add_column(column, style="bold" if column == "model" else None, justify="right" if column in NUMBERS else "left")
    for row in rows:
        made.add_row(*cells(row))
    return made


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows for a page such as README.md."""
    rule = ["---:" if column in NUMBERS else "---" for column in COLUMNS]
    return "".join(f"| {' | '.join(line)} |\n" for line in [COLUMNS, rule, *map(cells, rows)])
