import pytest

from pipeline import quantization
from tests.unit.quantization.small_model import float_model, save


@pytest.fixture
def model():
    return float_model()


@pytest.fixture
def directory(model, tmp_path):
    """A quantized model directory."""
    save(model, quantization.quantize(model.quantizable(), "here"), tmp_path)
    return tmp_path
