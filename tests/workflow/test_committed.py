"""What is committed belongs together: README's results are the committed metrics, and dvc.lock is of this code and these parameters."""

import re

import yaml
from dvc.repo import Repo

from pipeline import config, io, paths
from pipeline.apps import results
from pipeline.report.results import NEEDED, Results
from pipeline.report.summary import row
from tests.workspace import PROJECT


def test_readmes_results_are_the_committed_metrics():
    rows = []
    for name, model in config.load(PROJECT / "presets/default.yaml").models.items():
        metrics = {stage: io.read_json(PROJECT / paths.metrics(name, stage)) for stage in NEEDED}
        rows.append(row(Results(name, **metrics, curve=[], matrices=[], detail=[], samples={}), model))
    shown = re.search(r"<!-- results -->\n(.*?)<!-- /results -->", (PROJECT / "README.md").read_text(), re.DOTALL)
    assert shown and shown[1] == results.markdown(rows)


def test_the_lock_is_of_the_committed_code():
    """Every file of code that dvc.lock names has the hash that it says."""
    with Repo(str(PROJECT)) as repo:
        code = [(stage, dep) for stage in repo.index.stages for dep in stage.deps if str(dep).startswith(("pipeline/", "native/"))]
        assert len(code) > 100
        assert sorted({str(dep) for stage, dep in code if not dep.hash_info or dep.changed_checksum()}) == []


def test_the_lock_is_of_the_committed_parameters():
    lock = yaml.safe_load((PROJECT / "dvc.lock").read_text())["stages"]
    with Repo(str(PROJECT)) as repo:
        assert {stage.addressing for stage in repo.index.stages} == lock.keys()
        params = [dep for stage in repo.index.stages for dep in stage.params]
        assert len(params) > 10 and [str(dep) for dep in params if dep.changed_checksum()] == []
