"""Named views of the experiment: the table's columns and the charts, to answer "which is better, at what size" without a click.

MLflow's UI keeps its "Views" as tags of the experiment: a JSON envelope with a name, and the state of the page as JSON text. One view has
all models, with what all of them have; the others have the models of one task, and its figures.
"""

import json
from typing import Any, NamedTuple

PADDING, LETTER = 40, 7
"""Width of a column in pixels, so that its name can be read."""
WIDE = {"tags.`result`": 430, "params.`family`": 110}
"""Columns whose values are wider than their names."""
SIZES = ("metrics.`quantized/bytes`", "metrics.`quantized/bits_per_weight`", "metrics.`trained.parameters`")
CHOSEN = ("learning_rate", "steps", "batch_size")
CURVES = ("train/", "validation/")


class View(NamedTuple):
    """What the title of a view is, the figure that its models are judged by, and a curve of it beside the losses."""

    title: str
    figure: str | None
    curve: str | None = None

    def columns(self) -> tuple[str, ...]:
        """The table's columns: what came out, at what size, with which settings; a result in words has its size in it."""
        settings = ("params.`family`", *(f"params.`training.{name}`" for name in CHOSEN), "params.`quantization.method`")
        if self.figure is None:
            return ("tags.`result`", *settings, *SIZES)
        return (*(f"metrics.`{kind}/{self.figure}`" for kind in ("float", "quantized")), *SIZES, *settings)

    def charts(self) -> dict[str, tuple[str, ...]]:
        """Sections of charts: bars that compare the runs, and curves over the steps."""
        curves = ("train/loss", "validation/loss", *([self.curve] if self.curve else []))
        bars = (f"float/{self.figure}", f"quantized/{self.figure}") if self.figure else ()
        return {"Float and five levels": (*bars, "quantized/bytes", "quantized/bits_per_weight"), "Learning curves": curves}


VIEWS = {
    "results": View("All models", None),
    "language": View("Language models", "bits_per_byte"),
    "arithmetic": View("Calculators", "exact_match", "validation/exact_match"),
    "classification": View("Classifiers", "accuracy", "validation/accuracy"),
}
FIRST = "results"


def tags() -> dict[str, str]:
    """The experiment's tags that hold the views; MLflow allows each 5,000 characters."""
    return {f"mlflow.sharedViewState.{key}": _envelope(view) for key, view in VIEWS.items()}


def _envelope(view: View) -> str:
    columns, charts = view.columns(), view.charts()
    state = {
        "searchFilter": f"metrics.`quantized/{view.figure}` >= 0" if view.figure else "",
        "orderByKey": "tags.`mlflow.runName`",  # the runs of a model lie below each other
        "orderByAsc": True,
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {column: WIDE.get(column, PADDING + LETTER * len(column.split("`")[1])) for column in columns},
        "compareRunSections": [{"uuid": name, "name": name, "display": True, "isReordered": True} for name in charts],
        "compareRunCharts": [_chart(section, metric) for section, metrics in charts.items() for metric in metrics],
        "isAccordionReordered": True,
    }
    text = json.dumps(state, separators=(",", ":"))
    return json.dumps({"name": view.title, "createdAt": 0, "updatedAt": 0, "state": text})


def _chart(section: str, metric: str) -> dict[str, Any]:
    """A curve over the steps, or a bar for each run."""
    chart = {
        "uuid": metric,
        "metricSectionId": section,
        "isGenerated": False,
        "deleted": False,
        "metricKey": metric,
        "runsCountToCompare": 10,
    }
    if not metric.startswith(CURVES):
        return {**chart, "type": "BAR"}
    axes = {"scaleType": "linear", "xAxisKey": "step", "xAxisScaleType": "linear", "selectedXAxisMetricKey": "", "lineSmoothness": 0}
    return {**chart, **axes, "type": "LINE", "selectedMetricKeys": [metric]}


def route(experiment: str, view: str = FIRST) -> str:
    """The page of the UI that shows a view."""
    return f"/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={view}"
