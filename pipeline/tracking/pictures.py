"""Curves of a published CSV file as PNG, for the artifact page of MLflow's UI (the report draws its own, as SVG)."""

import csv
from pathlib import Path

from matplotlib.figure import Figure


def draw(path: Path, folder: Path) -> list[Path]:
    """Draw the losses of a CSV with a column `step` against it; other files give no picture."""
    if path.suffix != ".csv":
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
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
