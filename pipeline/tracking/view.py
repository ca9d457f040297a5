"""A named view of the experiment: which columns the table of runs shows, to answer "which is better, at what size" without a click.

MLflow's UI keeps its "Views" as tags of the experiment: a JSON envelope with a name, and the state of the page as JSON text.
"""

import json

ID = "results"

METRICS = (
    "float/bits_per_byte",
    "quantized/bits_per_byte",
    "float/exact_match",
    "quantized/exact_match",
    "quantized/bits_per_weight",
    "packed.weight_snr_db",
    "quantized/bytes",
    "trained.parameters",
)
PARAMETERS = ("training.learning_rate", "training.steps", "training.batch_size", "architecture.hidden_size", "quantization.method")

PADDING, LETTER = 40, 7
"""Width of a column in pixels, so that its name can be read."""


def tag() -> tuple[str, str]:
    """Name and value of the experiment's tag that holds the view."""
    columns = [f"metrics.`{name}`" for name in METRICS] + [f"params.`{name}`" for name in PARAMETERS]
    widths = {column: PADDING + LETTER * len(column.split("`")[1]) for column in columns}
    state = {"selectedColumns": columns, "columnOrder": columns, "columnWidths": widths}
    return f"mlflow.sharedViewState.{ID}", json.dumps({"name": "Results", "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)})


def route(experiment: str) -> str:
    """The page of the UI that shows the view."""
    return f"/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={ID}"
