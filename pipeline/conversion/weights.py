"""The quantized model as a float one: the same values, in the matrices that exporters and other programs know."""

from pathlib import Path

from pipeline import models
from pipeline.models.base import Model
from pipeline.quantization import storage


def dense(directory: Path) -> Model:
    """The family's own module with the weights digit x scale of a quantized directory, in float32; raises `UserError`.

    Its `config` no longer says that anything is quantized.
    """
    config, matrices, others = storage.read(directory)
    module = models.build({key: entry for key, entry in config.items() if key != "quantization_config"})
    module.load_state_dict({name: matrix.dense() for name, matrix in matrices.items()} | others)
    return module.eval()
