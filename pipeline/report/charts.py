"""Curves as inline SVG: no script, colours from the page's style sheet, the same bytes for the same numbers."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup, escape

from pipeline.report.figures import percent, title

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 104, 16, 48
LABEL_GAP = 15
LOGARITHMIC_FROM = 50.0
"""Ratio of the largest to the smallest value from which the vertical axis is logarithmic."""


class Series(NamedTuple):
    """A named curve; `style` is a class of the style sheet."""

    name: str
    points: list[tuple[float, float]]
    style: str


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` on `start` to `end` of the drawing."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (value - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round values: powers of ten, or about five steps of 1, 2 or 5 times one."""
        if self.logarithmic:
            return [10.0**n for n in range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)]
        step = _round_step((self.high - self.low) / 5)
        return [n * step for n in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]


def _round_step(size: float) -> float:
    power = 10.0 ** math.floor(math.log10(size))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= size * (1 - 1e-9))


def lines(
    series: Sequence[Series], x_label: str, y_label: str, references: Mapping[str, float] | None = None, share: bool = False
) -> Markup:
    """Curves over a common horizontal axis, named at their ends.

    `references` are dashed levels to beat; the axis of a `share` runs from 0 to 100 %.
    """
    levels = references or {}
    y_axis = _vertical([y for line in series for _, y in line.points] + list(levels.values()), share)
    xs = [x for line in series for x, _ in line.points]
    x_axis = Axis(min(0.0, *xs), max(xs), LEFT, WIDTH - RIGHT)
    parts = [*_grid(x_axis, y_axis, x_label, y_label, share)]
    parts += [f'<path class="reference" d="M{LEFT} {y_axis(v):.1f}H{WIDTH - RIGHT}"/>' for v in levels.values()]
    parts += [part for line in series for part in _curve(line, x_axis, y_axis)]
    ends = [(y_axis(v), name, "reference") for name, v in levels.items()]
    ends += [(y_axis(line.points[-1][1]), line.name, line.style) for line in series]
    parts += _labels(ends)
    about = escape(f"{y_label} over {x_label}")
    return Markup(f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{about}">{"".join(parts)}</svg>')


def _vertical(values: Sequence[float], share: bool) -> Axis:
    low, high = (0.0, 1.0) if share else (min(values), max(values))
    logarithmic = not share and low > 0 and high / low >= LOGARITHMIC_FROM
    if logarithmic:
        low, high = low / 1.3, high * 1.3
    elif not share:
        room = (high - low) * 0.08 or abs(high) * 0.08 or 1.0
        low, high = low - room, high + room
    return Axis(low, high, HEIGHT - BOTTOM, TOP, logarithmic)


def _grid(x_axis: Axis, y_axis: Axis, x_label: str, y_label: str, share: bool) -> Iterator[str]:
    for tick in y_axis.ticks():
        text = percent(tick) if share else f"{tick:.4g}"
        yield f'<path class="grid" d="M{LEFT} {y_axis(tick):.1f}H{WIDTH - RIGHT}"/>'
        yield f'<text class="tick" x="{LEFT - 8}" y="{y_axis(tick) + 4:.1f}" text-anchor="end">{text}</text>'
    for tick in x_axis.ticks():
        yield f'<text class="tick" x="{x_axis(tick):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{tick:,.0f}</text>'
    yield f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
    middle = (TOP + HEIGHT - BOTTOM) / 2
    yield f'<text class="axis" transform="translate(12 {middle:.1f}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'


def _curve(line: Series, x_axis: Axis, y_axis: Axis) -> Iterator[str]:
    places = [(x_axis(x), y_axis(y)) for x, y in line.points]
    yield f'<path class="curve {line.style}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in places)}"/>'
    if len(places) <= 40:
        for (x, y), (a, b) in zip(places, line.points, strict=True):
            yield f'<circle class="{line.style}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"><title>{a:,.0f}: {b:.4g}</title></circle>'


def _labels(ends: list[tuple[float, str, str]]) -> Iterator[str]:
    """Names at the right end of their curves, pushed apart where they would overlap."""
    places: list[float] = []
    for y, _, _ in sorted(ends):
        places.append(max(y, places[-1] + LABEL_GAP) if places else y)
    excess = max(0.0, places[-1] - (HEIGHT - BOTTOM)) if places else 0.0
    for (_, name, style), y in zip(sorted(ends), places, strict=True):
        yield f'<text class="label {style}" x="{WIDTH - RIGHT + 8}" y="{y - excess + 4:.1f}">{escape(title(name))}</text>'
