"""A named view of the experiment: the table's columns and the charts, to answer "which is better, at what size" without a click.

MLflow's UI keeps its "Views" as tags of the experiment: a JSON envelope with a name, and the state of the page as JSON text.
"""

import json
from typing import Any

ID = "results"

COLUMNS = (
    "metrics.`float/bits_per_byte`",
    "metrics.`quantized/bits_per_byte`",
    "metrics.`float/exact_match`",
    "metrics.`quantized/exact_match`",
    "metrics.`quantized/bits_per_weight`",
    "metrics.`packed.weight_snr_db`",
    "metrics.`quantized/bytes`",
    "metrics.`trained.parameters`",
    "params.`training.learning_rate`",
    "params.`training.steps`",
    "params.`training.batch_size`",
    "params.`architecture.hidden_size`",
    "params.`quantization.method`",
)
PADDING, LETTER = 40, 7
"""Width of a column in pixels, so that its name can be read."""

CHARTS = {
    "Learning curves": ("train/loss", "validation/loss", "validation/exact_match"),
    "Float and five levels": (
        "float/bits_per_byte",
        "quantized/bits_per_byte",
        "quantized/bits_per_weight",
        "float/exact_match",
        "quantized/exact_match",
        "quantized/bytes",
    ),
}
CURVES = ("train/", "validation/")


def tag() -> tuple[str, str]:
    """Name and value of the experiment's tag that holds the view; MLflow allows it 5,000 characters."""
    state = {
        "selectedColumns": COLUMNS,
        "columnOrder": COLUMNS,
        "columnWidths": {column: PADDING + LETTER * len(column.split("`")[1]) for column in COLUMNS},
        "compareRunSections": [{"uuid": name, "name": name, "display": True, "isReordered": True} for name in CHARTS],
        "compareRunCharts": [_chart(section, metric) for section, metrics in CHARTS.items() for metric in metrics],
        "isAccordionReordered": True,
    }
    text = json.dumps(state, separators=(",", ":"))
    return f"mlflow.sharedViewState.{ID}", json.dumps({"name": "Results", "createdAt": 0, "updatedAt": 0, "state": text})


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


def route(experiment: str) -> str:
    """The page of the UI that shows the view."""
    return f"/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={ID}"
