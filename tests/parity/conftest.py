import pytest

from pipeline import quantization
from tests.parity import small_project


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """The small project after `convert` and `evaluate`; tests only read it."""
    folder = small_project.create(tmp_path_factory.mktemp("parity"))
    for name in (*small_project.MODELS, *small_project.RECURRENT):
        small_project.stage(folder, "convert", name)
        small_project.stage(folder, "evaluate", name)
    return folder


@pytest.fixture
def model(project, name):
    """The quantized model of that `name`, a fixture of the test's own file."""
    return quantization.load(project / "quantized" / name)
