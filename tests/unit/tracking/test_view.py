"""The named views of MLflow's runs."""

import json

import pytest

from pipeline.tracking import batch, view


@pytest.mark.parametrize("key", view.VIEWS)
def test_it_fits_into_a_tag_and_is_what_the_ui_reads(key):
    value = view.tags()[f"mlflow.sharedViewState.{key}"]
    envelope = json.loads(value)
    state = json.loads(envelope["state"])
    assert envelope["name"] == view.VIEWS[key].title and len(value) <= 5000
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == sections
    assert {chart["type"] for chart in state["compareRunCharts"]} == {"LINE", "BAR"}
    assert set(state["columnWidths"]) == set(state["selectedColumns"])


@pytest.mark.parametrize("key", view.VIEWS)
def test_it_names_figures_that_the_stages_have(key):
    """Columns and bars are figures of the stages' metrics by the names that they get on their way to MLflow."""
    values = {"bits_per_byte": 1, "exact_match": 1, "accuracy": 1, "bits_per_weight": 1, "bytes": 1}
    known = dict(batch.figures("evaluate", {"float": values, "quantized": values})) | dict(batch.figures("train", {"parameters": 1}))
    state = json.loads(json.loads(view.tags()[f"mlflow.sharedViewState.{key}"])["state"])
    shown = {column.split("`")[1] for column in state["selectedColumns"] if column.startswith("metrics.")}
    shown |= {chart["metricKey"] for chart in state["compareRunCharts"] if chart["type"] == "BAR"}
    assert shown <= set(known)
