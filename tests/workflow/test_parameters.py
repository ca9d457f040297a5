"""What reruns when a parameter changes: the model that it belongs to, and nothing else; and DVC's commands on parameters and results."""

import json
import re
import zipfile
from pathlib import Path

import pytest

from tests.workspace import Workspace, clone

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("smoke")]

RATE = "models.calculator.training.learning_rate"
STAGES = ("train", "quantize", "convert", "evaluate")
MODELS = ("shakespeare", "calculator", "realnet", "neurogen", "pentary")


@pytest.fixture(scope="module")
def edited(dvc_run: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One model's learning rate was changed by hand, and nothing run since."""
    workspace = dvc_run.copy(tmp_path_factory.mktemp("edited") / "quintet")
    workspace.set(models__calculator__training__learning_rate=0.002)
    return workspace


def test_dvc_sees_a_change_of_that_models_training_only(edited: Workspace):
    status = json.loads(edited.run("dvc", "status", "--json"))
    assert list(status) == ["train@calculator", "report"]
    assert status["train@calculator"] == [{"changed deps": {"params.yaml": {"models.calculator.training": "modified"}}}]


def test_snakemake_plans_that_models_stages_and_the_report(snakemake_run: Workspace, tmp_path: Path):
    workspace = snakemake_run.copy(tmp_path / "quintet")
    workspace.set(models__calculator__training__learning_rate=0.002)
    planned = re.findall(r"^Shell command: python -m pipeline (.+) > logs", workspace.run("snakemake", "-n"), re.MULTILINE)
    assert set(planned) == {*(f"{stage} calculator" for stage in STAGES), "report"}


def test_params_diff_names_the_key(edited: Workspace):
    assert RATE in edited.run("dvc", "params", "diff") and "0.002" in edited.run("dvc", "params", "diff")


def test_an_experiment_trains_that_model_alone_and_compares(dvc_run: Workspace, tmp_path: Path):
    """First in a temporary folder, which leaves the workspace as it is; then here, where DVC's run cache knows the results already."""
    workspace = dvc_run.copy(tmp_path / "quintet")
    aside = workspace.run("dvc", "exp", "run", "--temp", "--name", "aside", "--set-param", f"{RATE}=0.001")
    assert set(re.findall(r"Running stage '(\w+@\S+)'", aside)) == {f"{stage}@calculator" for stage in STAGES}
    assert workspace.run("git", "status", "--porcelain") == ""
    difference = json.loads(workspace.run("dvc", "exp", "diff", "HEAD", "aside", "--json"))
    assert difference["params"]["params.yaml"][RATE]["new"] == 0.001
    assert "metrics/calculator/train.json" in difference["metrics"]
    assert not any("shakespeare" in path for path in difference["metrics"])
    here = workspace.run("dvc", "exp", "run", "--name", "here", "--set-param", f"{RATE}=0.001")
    assert "Stage 'train@calculator' is cached - skipping run" in here
    assert {"aside", "here"} <= set(re.findall(r"\[(\w+)\]", workspace.run("dvc", "exp", "list")))
    assert "metrics/calculator/train.json" in json.loads(workspace.run("dvc", "metrics", "diff", "--json"))


def test_metrics_and_plots_are_shown(dvc_run: Workspace, tmp_path: Path):
    shown = json.loads(dvc_run.run("dvc", "metrics", "show", "--json"))[""]["data"]
    assert set(shown) == {f"metrics/{model}/{stage}.json" for model in MODELS for stage in STAGES}
    evaluated = shown["metrics/shakespeare/evaluate.json"]["data"]
    assert evaluated["float"]["bits_per_byte"] > 0 and evaluated["quantized"]["bits_per_weight"] < 8
    workspace = dvc_run.copy(tmp_path / "quintet")
    workspace.run("dvc", "plots", "show")
    page = workspace.read("dvc_plots/index.html").decode()
    assert all(
        f"plots/{model}/{stage}.csv" in page for model in MODELS for stage in ("train", "quantize", "evaluate")
    )


@pytest.mark.parametrize("command, code", [(("dvc", "repro"), 255), (("snakemake", "-j2"), 1)], ids=["dvc", "snakemake"])
def test_a_mistake_in_the_parameters_stops_either_runner_before_any_work(tmp_path: Path, command: tuple[str, ...], code: int):
    workspace = clone(tmp_path / "quintet")
    workspace.set(models__calculator__training__learning_rat=0.1)
    said = workspace.run(*command, code=code)
    assert "learning_rat" in said and "Traceback" not in said
    assert not (workspace.folder / "data").exists()


def test_snakemake_writes_its_report(snakemake_run: Workspace, tmp_path: Path):
    workspace = snakemake_run.copy(tmp_path / "quintet")
    assert "Report created" in workspace.run("snakemake", "--report", "report.zip")
    with zipfile.ZipFile(workspace.folder / "report.zip") as report:
        pages = [name for name in report.namelist() if name.endswith("index.html")]
        assert any(workspace.read("report/index.html") == report.read(page) for page in pages)
