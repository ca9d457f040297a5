"""Stage `report`: what all models' stages measured, as one page and one table."""

from pipeline import io, paths
from pipeline.report import page, results, summary
from pipeline.stages.runner import Stage


def run(stage: Stage) -> None:
    """Write report/index.html and report/summary.json; raises `UserError` where results are missing, or are of models that are gone."""
    models = stage.config.models
    found = results.collect(models)
    rows = [summary.row(each, models[each.name]) for each in found]
    io.write_json(stage.out(paths.SUMMARY), rows)
    io.write_bytes(stage.out(paths.REPORT), page.render(found, stage.parameters, rows).encode())
