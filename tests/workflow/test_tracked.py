"""What MLflow knows of a whole run: its data sets by DVC's digests, a registered model a name, statistics of a brain."""

from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient

from tests.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("smoke")]


def locked(workspace: Workspace, dataset: str) -> dict[str, str]:
    """MD5 of the files of a ready data set, by split, as dvc.lock has them."""
    outputs = yaml.safe_load(workspace.read("dvc.lock"))["stages"][f"tokenize@{dataset}"]["outs"]
    return {Path(out["path"]).stem: out["md5"] for out in outputs if out["path"].endswith(".safetensors")}


def test_replayed_logs_of_a_run_are_what_dvc_locked_and_a_champion_each(dvc_run: Workspace, tmp_path: Path):
    workspace = dvc_run.copy(tmp_path / "quintet")
    workspace.pipeline("sync")
    uri = f"sqlite:///{workspace.folder}/mlflow.db"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name("quintet").experiment_id])
    blocks = yaml.safe_load(workspace.read("params.yaml"))["models"]
    assert {run.data.tags["model"] for run in runs} == set(blocks)
    for run in runs:
        name = run.data.tags["model"]
        given = {each.tags[0].value: each.dataset for each in run.inputs.dataset_inputs}
        assert {split: each.digest for split, each in given.items()} == locked(workspace, blocks[name]["dataset"])
        assert {each.name for each in given.values()} == {blocks[name]["dataset"]}
        assert client.get_model_version_by_alias(name, "champion").run_id == run.info.run_id
        assert run.data.tags["result"] and run.data.metrics["quantized/bytes"] > 0
    (brain,) = (run for run in runs if run.data.tags["model"] == "neurogen")
    assert {name.split("/")[1] for name in brain.data.metrics if name.startswith("statistics/")} >= {"dopamine", "serotonin"}
