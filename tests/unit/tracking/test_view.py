"""The named view of MLflow's runs."""

import json

from pipeline.tracking import batch, view


def test_it_fits_into_a_tag_and_is_what_the_ui_reads():
    name, value = view.tag()
    envelope = json.loads(value)
    state = json.loads(envelope["state"])
    assert name == "mlflow.sharedViewState.results" and envelope["name"] == "Results" and len(value) <= 5000
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == sections
    assert {chart["type"] for chart in state["compareRunCharts"]} == {"LINE", "BAR"}


def test_it_names_figures_that_the_stages_have():
    """Columns and bars are figures of the stages' metrics by the names that they get on their way to MLflow."""
    values = {"bits_per_byte": 1, "exact_match": 1, "bits_per_weight": 1, "weight_snr_db": 1, "bytes": 1}
    known = dict(batch.figures("evaluate", {"float": values, "quantized": values}))
    known |= dict(batch.figures("quantize", {"quantized": values})) | dict(batch.figures("train", {"parameters": 1}))
    shown = {column.split("`")[1] for column in view.COLUMNS if column.startswith("metrics.")}
    shown |= {metric for metrics in view.CHARTS.values() for metric in metrics if not metric.startswith(view.CURVES)}
    assert shown <= set(known)
