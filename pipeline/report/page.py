"""report/index.html: one self-contained page that answers what was learned, what five levels cost, what is exported, and what made it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from pipeline.config import flatten
from pipeline.report import charts, figures
from pipeline.report.charts import Series
from pipeline.report.results import Results, Row, Section
from pipeline.report.summary import baseline

FOLDER = Path(__file__).parent
COMPARED = ("float", "quantized")
PARITY = ("max_logit_difference", "kl_divergence", "greedy_equal")
COUNTS = ("problems", "samples")
"""What says how much was measured, and is the same for both models."""
LEVELS = ("-2", "-1", "0", "1", "2")


class Cell(NamedTuple):
    """A figure beside what it was before."""

    name: str
    before: str
    after: str
    change: str


def render(results: Sequence[Results], parameters: Mapping[str, Any], summary: Sequence[Mapping[str, Any]]) -> str:
    """The whole page; `parameters` is params.yaml with its defaults, `summary` has a row a model."""
    loader = jinja2.FileSystemLoader(FOLDER)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"title": figures.title, "size": figures.size, "percent": figures.percent}
    environment.globals |= {"figure": figures.write, "levels": LEVELS}
    return environment.get_template("page.html.j2").render(
        style=Markup((FOLDER / "style.css").read_text(encoding="utf-8")),
        summary=summary,
        models=[_model(each, parameters["models"][each.name]) for each in results],
        datasets={name: flatten(block) for name, block in parameters["datasets"].items()},
        seed=parameters["seed"],
    )


def _model(results: Results, parameters: Mapping[str, Any]) -> dict[str, Any]:
    headline = figures.headline(results.evaluate["float"])
    return {
        "results": results,
        "headline": headline,
        "baseline": baseline(results.evaluate["baselines"], headline),
        "baselines": _union(results.evaluate["baselines"]),
        "curves": _curves(results),
        "cost": _cost(results.evaluate),
        "matrices": [_matrix(row) for row in results.matrices],
        "exports": _union({name: _export(section, headline) for name, section in results.exports.items()}),
        "detail": _detail(results.detail),
        "parameters": flatten(dict(parameters)),
        "inputs": dict(results.evaluate["inputs"]),
    }


def _curves(results: Results) -> list[Markup]:
    """Losses together, with the baselines' to beat; every other figure of the validation split on its own."""
    rows, along = results.curve, "optimizer step"
    losses = [Series(split, _points(rows, f"{split}_loss"), split) for split in ("train", "validation")]
    levels = {name: section["loss"] for name, section in results.evaluate["baselines"].items() if "loss" in section}
    found = [charts.lines(losses, along, "loss (nats)", levels)]
    for name in (
        column.removeprefix("validation_") for column in rows[0] if column.startswith("validation_") and column != "validation_loss"
    ):
        series = [Series("validation", _points(rows, f"validation_{name}"), "validation")]
        found.append(charts.lines(series, along, figures.title(name), share=name.startswith(figures.SHARES)))
    return found


def _points(rows: Sequence[Row], column: str, along: str = "step") -> list[tuple[float, float]]:
    return [(float(row[along]), float(row[column])) for row in rows if row[column] != ""]


def _cost(evaluate: Mapping[str, Section]) -> list[Cell]:
    """Every figure of both models, the one that sums up first, sizes last."""
    before, after = (_flat(evaluate[name]) for name in COMPARED)
    names = [name for name in before if name in after and name not in COUNTS and not name.endswith(("_low", "_high"))]
    names.sort(key=lambda name: (name != figures.headline(before), name.endswith(("bytes", "weight")), name))
    return [Cell(n, _interval(n, before), _interval(n, after), figures.change(n, before[n], after[n])) for n in names]


def _flat(section: Section) -> Section:
    """A section's figures together with those of the sections inside it."""
    inside = {name: value for item in section.values() if isinstance(item, dict) for name, value in item.items()}
    return {name: value for name, value in (inside | section).items() if isinstance(value, int | float)}


def _interval(name: str, section: Mapping[str, Any]) -> str:
    """A figure, with its 95 % interval where it has one."""
    low, high = section.get(f"{name}_low"), section.get(f"{name}_high")
    text = figures.write(name, section[name])
    return text if low is None or high is None else f"{text} ({figures.write(name, low)} to {figures.write(name, high)})"


def _export(section: Section, headline: str) -> Section:
    """Parity, size, and the figure that sums up."""
    return {name: section[name] for name in (*PARITY, headline, "bytes") if name in section}


def _union(sections: Mapping[str, Section]) -> dict[str, Any]:
    """Sections as a table: a column for every name that occurs, and a row of texts a section."""
    names = list(dict.fromkeys(name for section in sorted(sections.values(), key=len, reverse=True) for name in section))
    rows = {title: [figures.write(n, section[n]) if n in section else "" for n in names] for title, section in sections.items()}
    return {"columns": names, "rows": rows}


def _matrix(row: Row) -> dict[str, Any]:
    """A quantized matrix with the shares of its levels in percent, where it has five."""
    name = str(row["name"]).removeprefix("model.").removesuffix(".weight")
    return {**row, "name": name, "shares": [100 * float(share) for level in LEVELS if (share := row[f"share_{level}"]) != ""]}


def _detail(rows: Sequence[Row]) -> dict[str, Any]:
    """The evaluation's own table: a chart where it runs along a position, a matrix of confusion for classes, else rows as they are."""
    columns = list(rows[0])
    if columns[0] == "position":
        series = [Series(name, _points(rows, name, "position"), name) for name in columns[1:]]
        return {"chart": charts.lines(series, "position in the window", "loss (nats)")}
    if columns[0] == "actual":
        return _confusion(rows, COMPARED[-1])
    kept = [name for name in columns if not name.endswith(("_low", "_high"))]
    found = [[_detailed(name, row) for name in kept] for row in rows]
    return {"columns": kept, "rows": found, "title": f"Each kind ({len(found)}), with 95 % intervals"}


def _confusion(rows: Sequence[Row], model: str) -> dict[str, Any]:
    """How many samples of each class (a row) a model takes for each class (a column)."""
    classes = list(dict.fromkeys(str(row["actual"]) for row in rows))
    pairs = Counter((str(row["actual"]), str(row[model])) for row in rows)
    table = [[(actual, None), *((f"{pairs[actual, given] or ''}", None) for given in classes)] for actual in classes]
    return {
        "columns": ["actual", *classes],
        "rows": table,
        "title": f"Which class is taken for which: rows are actual, columns given at {figures.title(model)}",
    }


def _detailed(name: str, row: Row) -> tuple[str, float | None]:
    """A cell's text, and the share that its bar shows where it has an interval."""
    value = row[name]
    if f"{name}_low" not in row or isinstance(value, str):
        return figures.write(name, value), None
    return _interval("share", {"share": value, "share_low": row[f"{name}_low"], "share_high": row[f"{name}_high"]}), value
