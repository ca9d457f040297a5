"""Promise: a person who opens `python -m pipeline ui` reads in MLflow's pages what changed, which run is better, and at what size."""

import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.browser.chromium import Browser, browser
from tests.browser.pages import PATIENCE, served, visit
from tests.unit.apps import small_speaker
from tests.unit.tracking.conftest import judge
from tests.workspace import PROJECT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]
NAME = "speaker"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose store has two judged trainings at different learning rates, the second of which is better."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "params.yaml").write_bytes((PROJECT / "presets/smoke.yaml").read_bytes())
    small_speaker.write(folder / "quantized" / NAME, packed=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("QUINTET_TRACKING", "off")
        for name in ("DVC_ROOT", "QUINTET_HOME", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        judge("aaaa1111", 2.25, NAME, rate=0.004)
        judge("bbbb2222", 2.125, NAME, rate=0.008)
    return folder


@pytest.fixture(scope="module")
def address(store: Path):
    with served(store) as address:
        yield address


@pytest.fixture(scope="module")
def page():
    with browser(1440, 1800) as page:  # charts are drawn once they are in sight
        yield page


def run_of(store: Path, key: str) -> tuple[str, str]:
    """Experiment and id of a training key's run."""
    client = MlflowClient(tracking_uri=f"sqlite:///{store}/mlflow.db")
    experiment = client.get_experiment_by_name("quintet").experiment_id
    (run,) = client.search_runs([experiment], f"tags.training_key = '{key}'")
    return experiment, run.info.run_id


def test_the_table_says_what_changed_which_is_better_and_at_what_size(page: Browser, address: str) -> None:
    visit(page, address)
    shown = page.wait("speaker-aaaa11", "speaker-bbbb22", "training.learning_rate", "training.steps", "0.004", "0.008", seconds=PATIENCE)
    assert "2 matching runs" in shown and "All models" in shown
    for value in ("2.25 (float 2.15)", "2.125 (float 2.025)"):
        assert f"bits per byte {value}, 4,321 bytes (2.4 bits a weight)" in shown


def test_the_view_of_a_task_has_its_figures_and_no_other(page: Browser, address: str) -> None:
    visit(page, address.replace("=results", "=language"))
    figures = ("float/bits_per_byte", "quantized/bits_per_byte", "quantized/bytes")
    shown = page.wait("Language models", *figures, "2.25", "2.125", "4321", seconds=PATIENCE)
    assert "exact_match" not in shown and "accuracy" not in shown
    visit(page, address.replace("=results", "=arithmetic"))
    page.wait("Calculators", "0 matching runs", seconds=PATIENCE)


def test_curves_and_bars_are_drawn(page: Browser, address: str) -> None:
    visit(page, f"{address.replace('=results', '=language')}&compareRunsMode=CHART")
    page.wait("Learning curves", "train/loss", "Float and five levels", "quantized/bits_per_byte", seconds=PATIENCE)
    assert_drawn(page, ".js-plotly-plot .scatterlayer .trace, .js-plotly-plot .barlayer .trace", 2)


def test_a_run_shows_its_parameters_and_previews_its_artifacts(page: Browser, address: str, store: Path) -> None:
    experiment, run = run_of(store, "bbbb2222")
    visit(page, f"{address.partition('#')[0]}#/experiments/{experiment}/runs/{run}/artifacts/plots/train.png")
    page.wait("speaker-bbbb22", "metrics", "samples", "train.csv", "plots/train.png", seconds=PATIENCE)
    assert_drawn(page, "img[src^=blob], img[src*=train]", 1)
    visit(page, f"{address.partition('#')[0]}#/experiments/{experiment}/runs/{run}")
    shown = page.wait("training.learning_rate", "0.008", "quantized/bits_per_byte", "plays (", seconds=PATIENCE)
    assert "null" not in shown


def test_the_registered_model_has_a_champion(page: Browser, address: str) -> None:
    visit(page, f"{address.partition('#')[0]}#/models/{NAME}")
    shown = page.wait("Version 1", "Version 2", "champion", seconds=PATIENCE)
    listed = shown[shown.index("Version 2") :]
    assert listed.index("champion") < listed.index("Version 1"), "the better one, which is the newer, has it"
    assert "quantized/bits_per_byte is lower by at least 0.01" in " ".join(shown.split())


def assert_drawn(page: Browser, selector: str, least: int) -> None:
    """Wait until so many elements have a size; an image that did not arrive has none."""
    script = f"""return [...document.querySelectorAll('{selector}')].filter(e => (e.naturalWidth ?? e.getBBox().width) > 20).length"""
    until = time.monotonic() + PATIENCE
    while (count := page.run(script)) < least:
        assert time.monotonic() < until, f"{count} of {selector}, not {least}:\n{page.text()}"
        time.sleep(0.3)
