"""Judged models in MLflow's registry, in its SQLite store: a version each, signature and example, and the alias `champion`."""

import json
import shutil
from pathlib import Path

import mlflow.models
import pytest
from mlflow.tracking import MlflowClient

from pipeline import io
from pipeline.apps import sync
from pipeline.tracking import open_log
from tests.unit.apps import small_speaker
from tests.unit.tracking.conftest import judge, train

NAME = "speaker"


@pytest.fixture(scope="session")
def packed(tmp_path_factory) -> Path:
    return small_speaker.write(tmp_path_factory.mktemp("speaker") / "packed", packed=True)


@pytest.fixture(autouse=True)
def model(project, packed) -> Path:
    return Path(shutil.copytree(packed, project / "quantized" / NAME))


def client() -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{Path.cwd()}/mlflow.db", registry_uri=f"sqlite:///{Path.cwd()}/mlflow.db")


def versions() -> dict[str, str]:
    """Versions and the training keys of their runs."""
    found = client().search_model_versions(f"name = '{NAME}'")
    return {str(version.version): client().get_run(version.run_id).data.tags["training_key"] for version in found}


def holder() -> str:
    """The training key of the champion."""
    return versions()[str(client().get_model_version_by_alias(NAME, "champion").version)]


def test_a_judged_model_is_a_version_with_signature_example_and_figures(project):
    judge("aaaa1111", 2.2, NAME)
    (version,) = client().search_model_versions(f"name = '{NAME}'")
    assert version.description == "bits per byte 2.2 (float 2.1), 4,321 bytes (2.4 bits a weight)"
    assert client().get_run(version.run_id).data.tags["result"] == version.description
    (logged,) = client().search_logged_models([client().get_run(version.run_id).info.experiment_id])
    figures = {metric.key: metric for metric in logged.metrics}
    assert figures["quantized/bits_per_byte"].value == 2.2
    assert (figures["quantized/bytes"].dataset_name, figures["quantized/bytes"].dataset_digest) == (
        "plays",
        io.md5(Path("data/ready/plays/test.safetensors")),
    )
    folder = Path(logged.artifact_location.removeprefix("file://"))
    form = mlflow.models.Model.load(folder)
    assert str(form.signature.inputs) == str(form.signature.outputs) == "[string (required)]"
    assert {each.name for each in form.signature.params} == {"max_tokens", "temperature", "top_k", "seed"}
    assert form.flavors["python_function"]["loader_module"] == "pipeline.apps.served"
    assert json.loads((folder / "input_example.json").read_text())["inputs"] == ["to be"]
    assert not list(folder.rglob("*.pkl"))


def test_the_alias_moves_by_the_margin_and_a_replay_changes_nothing(project):
    for key, value, expected in (("aaaa1111", 2.2, "aaaa1111"), ("bbbb2222", 2.195, "aaaa1111"), ("cccc3333", 2.15, "cccc3333")):
        judge(key, value, NAME)
        assert holder() == expected
    before = versions()
    assert sorted(before.values()) == ["aaaa1111", "bbbb2222", "cccc3333"]
    client().set_registered_model_alias(NAME, "champion", "1")
    for run in client().search_runs([client().get_experiment_by_name("quintet").experiment_id]):
        for tag in run.data.tags:
            if tag.startswith("mlflow.quintet."):
                client().set_tag(run.info.run_id, tag, "0")
    sync.replay()
    assert versions() == before and holder() == "cccc3333"
    assert "`quantized/bits_per_byte` is lower by at least 0.01" in client().get_registered_model(NAME).description


def test_files_that_are_not_those_that_were_judged_are_not_registered(project, capsys):
    train("aaaa1111", name=NAME)
    with open_log("evaluate", NAME, {}) as log:
        log.run("aaaa1111")
        metrics = Path(f"metrics/{NAME}/evaluate.json")
        figures = {"bits_per_byte": 2.0, "bytes": 1, "bits_per_weight": 2.4}
        io.write_json(metrics, {"float": figures, "quantized": figures, "inputs": [[f"quantized/{NAME}/model.safetensors", "0" * 64]]})
        log.published([metrics])
    sync.replay()
    assert f"quantized/{NAME}/model.safetensors is not what was judged" in capsys.readouterr().out
    assert not client().search_registered_models()
