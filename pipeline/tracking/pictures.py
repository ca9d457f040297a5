"""Curves and confusion matrices of a published CSV file as PNG, for the artifact page of MLflow's UI (the report draws its own, as SVG)."""

import csv
from collections import Counter
from pathlib import Path

from matplotlib.figure import Figure


def draw(path: Path, folder: Path) -> list[Path]:
    """Draw the losses of a CSV with a column `step` against it, or who is taken for whom where there is a column `actual`."""
    if path.suffix != ".csv":
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if rows and "actual" in rows[0]:
        return [_confusion(rows, path, folder)]
    losses = [name for name in (rows[0] if rows else {}) if "loss" in name]
    if not losses or "step" not in rows[0]:
        return []
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss (nats)", title=f"{path.parent.name}: loss")
    for name in losses:
        points = [(float(row["step"]), float(row[name])) for row in rows if row[name]]
        axes.plot(*zip(*points, strict=True), label=name, marker="" if len(points) > 40 else "o", markersize=3)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    picture = folder / f"{path.stem}.png"
    figure.savefig(picture)
    return [picture]


def _confusion(rows: list[dict[str, str]], path: Path, folder: Path) -> Path:
    """A confusion matrix for each model, that is for each other column."""
    classes = list(dict.fromkeys(row["actual"] for row in rows))
    models = [name for name in rows[0] if name != "actual"]
    figure = Figure(figsize=(5 * len(models), 4.8), dpi=120, layout="constrained")
    figure.suptitle(f"{path.parent.name}: classes of the test split")
    for number, name in enumerate(models, 1):
        pairs = Counter((row["actual"], row[name]) for row in rows)
        counts = [[pairs[actual, given] for given in classes] for actual in classes]
        axes = figure.add_subplot(1, len(models), number, xlabel=f"given ({name})", ylabel="actual")
        axes.imshow(counts, cmap="Blues")
        axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
        axes.set_yticks(range(len(classes)), classes)
        for i, line in enumerate(counts):
            for j, count in enumerate(line):
                if count:
                    axes.text(j, i, str(count), ha="center", va="center", fontsize=7, color="white" if i == j else "black")
    picture = folder / f"{path.stem}.png"
    figure.savefig(picture)
    return picture
