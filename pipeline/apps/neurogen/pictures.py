"""Pictures of a brain at work, as SVG: the same bytes for the same numbers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure

from pipeline.apps.neurogen.activity import Activity
from pipeline.models.neurogen import anatomy
from pipeline.models.neurogen.brain import BAND, MOST

DRAWN = 6
"""Tokens of the raster."""
WORTH = 0.01
"""Nats a token."""


@contextmanager
def _figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.hashsalt": "quintet", "svg.fonttype": "none"}):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        figure.savefig(path, metadata={"Date": None})


def lesions(rows: Sequence[Mapping[str, Any]], path: Path, spread: str = "error") -> None:
    """What each lesion adds to the loss, with its spread, on a logarithmic axis; what adds nothing or less has no bar.

    The dotted line is what every connection should be worth.
    """
    with _figure(path, 8, 5) as figure:
        axes = figure.add_subplot(xlabel="added to the loss (nats a token)", xscale="log")
        places = np.arange(len(rows))[::-1]
        for shift, way in ((0.2, "silenced"), (-0.2, "held at its mean")):
            values = [max(row[way], 0.0) for row in rows]
            errors = [row[f"{way}: {spread}"] for row in rows]
            axes.barh(places + shift, values, 0.38, xerr=errors, label=way, error_kw={"elinewidth": 0.8})
        axes.set_yticks(places, [row["part"].replace("_", " ") for row in rows])
        axes.axvline(WORTH, color="black", linewidth=0.8, linestyle=":")
        axes.set_xlim(left=1e-3)
        axes.grid(alpha=0.25, axis="x")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)


def rates(found: Mapping[str, Sequence[float]], path: Path) -> None:
    """Each module's neurons by their mean rate, and the band that training keeps them to."""
    with _figure(path, 8, 3.6) as figure:
        axes = figure.add_subplot(ylabel="spikes an internal step", title="mean rate of each neuron; the line is the module's")
        axes.axhspan(*BAND, alpha=0.15, color="C2", linewidth=0)
        axes.axhline(MOST, color="C2", linewidth=0.8, linestyle=":")
        for place, each in enumerate(found.values()):
            spread = place + 0.7 * (np.arange(len(each)) / len(each) - 0.5)
            axes.plot(spread, sorted(each), ".", markersize=3, color=f"C{place}")
            axes.plot([place - 0.4, place + 0.4], [np.mean(each)] * 2, color="black", linewidth=1)
        axes.set_xticks(range(len(found)), [name.replace("_", " ") for name in found])
        axes.grid(alpha=0.25, axis="y")


def raster(activity: Activity, letters: Sequence[str], path: Path) -> None:
    """Spikes of every neuron in every internal step of some tokens' cycles, after what was read before them."""
    length, (count, last) = sum(activity.phases.values()), (min(DRAWN, len(letters)), len(letters))
    with _figure(path, 10, 6) as figure:
        axes = figure.add_subplot(xlabel="internal steps; a line where the next token comes")
        spikes = torch.cat(list(activity.spikes.values()))[:, last - count :].flatten(1)
        axes.imshow(spikes.numpy(), aspect="auto", cmap="Greys", interpolation="none", extent=(0, count * length, len(spikes), 0))
        for token in range(count):
            start = token * length
            axes.axvline(start, color="black", linewidth=0.8)
            axes.text(start + length / 2, -8, repr(letters[last - count + token]), ha="center")
            for number, (phase, steps) in enumerate(activity.phases.items()):
                axes.axvspan(start, start + steps, color=f"C{number}", alpha=0.12, linewidth=0, label=None if token else phase)
                start += steps
        figure.legend(loc="outside lower center", ncols=len(activity.phases), frameon=False)
        edges = np.cumsum([0, *(len(each) for each in activity.spikes.values())])
        axes.hlines(edges[1:-1], 0, count * length, color="black", linewidth=0.5)
        axes.set_yticks((edges[1:] + edges[:-1]) / 2, [name.replace("_", " ") for name in activity.spikes])
        axes.set_ylim(len(spikes), 0)


def flow(activity: Activity, letters: Sequence[str], path: Path) -> None:
    """What each connection carries at each token, in the order of the cycle's phases: relative to its mean, which stands beside it."""
    order = {name: place for place, names in enumerate(anatomy.PHASES.values()) for name in names}
    connections = sorted(anatomy.CONNECTIONS, key=lambda c: order[c.target])
    phase_of = {name: phase for phase, names in anatomy.PHASES.items() for name in names}
    carried = torch.stack([activity.flow[c.name] for c in connections]).numpy()
    means = carried.mean(1)
    with _figure(path, 11, 4.2) as figure:
        axes = figure.add_subplot(xlabel="tokens", title="module-to-module flow: current (root mean square), relative to each row's mean")
        picture = axes.imshow(carried / np.maximum(means, 1e-9)[:, None], aspect="auto", cmap="viridis", interpolation="none")
        names = [f"{phase_of[c.target]}: {c.source.replace('_', ' ')} to {c.target.replace('_', ' ')}" for c in connections]
        axes.set_yticks(range(len(names)), [f"{name} ({mean:.2f})" for name, mean in zip(names, means.tolist(), strict=True)])
        axes.set_xticks(range(len(letters)), [letter if letter.isprintable() else repr(letter)[1:-1] for letter in letters])
        figure.colorbar(picture, ax=axes)


def curves(
    lines: Mapping[str, Sequence[Sequence[tuple[float, float]]]],
    levels: Mapping[str, float],
    axes: tuple[str, str],
    path: Path,
    logarithmic: bool = False,
) -> None:
    """Curves of one colour a name, one a seed, with dashed levels to compare them with."""
    with _figure(path, 8, 4.2) as figure:
        place = figure.add_subplot(xlabel=axes[0], ylabel=axes[1], xscale="log" if logarithmic else "linear")
        for number, (name, seeds) in enumerate(lines.items()):
            for each in seeds:
                label = name if each is seeds[0] else None
                place.plot(*zip(*each, strict=True), marker=".", color=f"C{number}", label=label, alpha=0.9 if len(seeds) == 1 else 0.6)
        for name, level in levels.items():
            place.axhline(level, color="black", linewidth=0.8, linestyle="--")
            place.annotate(name, (1, level), xycoords=("axes fraction", "data"), ha="right", va="bottom")
        place.grid(alpha=0.25)
        figure.legend(loc="outside lower center", ncols=len(lines), frameon=False)
