"""Pictures of a sweep: loss against bytes with the front that nothing beats, and parallel coordinates; equal bytes for equal numbers."""

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure

from pipeline import io
from pipeline.report import figures

FRONT, OTHER, INK = "#c4581f", "#6b7078", "#1f2328"
STYLE = {"svg.hashsalt": "quintet", "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False, "text.color": INK}
LOGARITHMIC_FROM = 8.0
"""Ratio of an axis's largest to its smallest value from which it is logarithmic."""
APART = 0.05
"""Heights between two texts beside an axis."""
COLOURS = colormaps["viridis_r"]

Row = dict[str, Any]


def pareto(rows: Sequence[Row], judged_by: str, title: str, path: Path) -> None:
    """Every point by its number; a line through those that no other beats in both."""
    front = sorted((row["bytes"], row[judged_by], row["point"]) for row in rows if row["front"])
    with rc_context(STYLE):
        figure = Figure(figsize=(7, 4.4), layout="constrained")
        axes = figure.add_subplot(xlabel="bytes on disk, five levels", ylabel=f"{figures.title(judged_by)} on the test split")
        axes.set_title(title, loc="left")
        axes.step(
            *zip(*((x, y) for x, y, _ in front), strict=True), where="post", color=FRONT, linewidth=1, label="nothing is smaller and better"
        )
        for row in rows:
            place = row["bytes"], row[judged_by]
            axes.plot(*place, "o", color=FRONT if row["front"] else OTHER, markersize=6)
            axes.annotate(str(row["point"]), place, textcoords="offset points", xytext=(6, 5))
        axes.xaxis.set_major_formatter(lambda value, _: figures.size(value))
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
        _save(figure, path)


def parallel(rows: Sequence[Row], columns: Sequence[str], title: str, path: Path) -> None:
    """An upright axis for each column, and a line for each point, coloured by the last column."""
    heights = [_heights([row[column] for row in rows]) for column in columns]
    with rc_context(STYLE):
        figure = Figure(figsize=(max(7.0, 2.0 * len(columns)), 4.8), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title, loc="left", pad=44)
        for i, row in enumerate(rows):
            line = [height[i] for height in heights]
            axes.plot(range(len(columns)), line, color=COLOURS(0.1 + 0.8 * line[-1]), linewidth=1.6)
            axes.annotate(str(row["point"]), (len(columns) - 1, line[-1]), textcoords="offset points", xytext=(6, -3))
        for x, column in enumerate(columns):
            axes.axvline(x, color=OTHER, linewidth=0.8)
            axes.text(x, 1.05, _short(column), ha="center", va="bottom")
            for text, height in _ticks([_write(column, row[column]) for row in rows], heights[x]):
                box = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}
                axes.text(x - 0.03, height, text, ha="right", va="center", fontsize=8, color=INK, bbox=box)
        axes.set_xlim(-0.5, len(columns) - 0.7)
        axes.set_axis_off()
        _save(figure, path)


def _heights(values: Sequence[Any]) -> list[float]:
    """Places between 0 and 1: by value, by its logarithm where values are far apart, or by order for what is no number."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        ranks = {value: i for i, value in enumerate(dict.fromkeys(map(str, values)))}
        return [ranks[str(value)] / max(1, len(ranks) - 1) for value in values]
    if min(values) > 0 and max(values) / min(values) >= LOGARITHMIC_FROM:
        values = [math.log(value) for value in values]
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 0.5 for value in values]


def _ticks(texts: Sequence[str], heights: Sequence[float]) -> list[tuple[str, float]]:
    """The values to write beside an axis: none that would lie on the one below it."""
    kept: list[tuple[str, float]] = []
    for height, text in sorted(zip(heights, texts, strict=True)):
        if not kept or height - kept[-1][1] >= APART:
            kept.append((text, height))
    return kept


def _short(column: str) -> str:
    """The last word of a key over the ones before it."""
    block, _, name = column.rpartition(".")
    return f"{block.replace('.', ' ')}\n{name}" if block else figures.title(column)


def _write(column: str, value: Any) -> str:
    if column == "bytes":
        return figures.size(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _save(figure: Figure, path: Path) -> None:
    drawn = BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    io.write_bytes(path, drawn.getvalue())
