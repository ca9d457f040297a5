"""NumPy: packed digits and scales in an .npz file, and one script that runs the model with nothing else installed (`numpy_program`)."""

import io as memory
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline import io
from pipeline.conversion import Bounds, Source, cached, digits, numpy_program, weights
from pipeline.errors import UserError
from pipeline.models.base import Model

BOUNDS = Bounds(max_logit_difference=1e-3, kl_divergence=1e-6, greedy_equal=0.9)
WEIGHTS = "model.npz"
PROGRAM = Path(numpy_program.__file__)


def export(module: Model, source: Source, target: Path) -> None:
    """Write run.py, model.npz, matrices.json, config.json and the tokenizer, the same bytes on every run."""
    config, matrices, others = weights.quantized(source.model)
    arrays = {name: tensor.float().numpy() for name, tensor in others.items()}
    for name, matrix in matrices.items():
        arrays[f"{name}.codes"] = digits.encode(matrix.digits_RK.numpy(), matrix.levels)
        arrays[f"{name}.scale"] = matrix.scale_RG.numpy()
    file = memory.BytesIO()
    np.savez(file, allow_pickle=False, **dict(sorted(arrays.items())))
    io.write_bytes(target / WEIGHTS, file.getvalue())
    described = {name: {"levels": matrix.levels, "columns": matrix.digits_RK.shape[1]} for name, matrix in matrices.items()}
    io.write_json(target / "matrices.json", described)
    io.write_json(target / "config.json", config)
    io.write_bytes(target / "run.py", PROGRAM.read_bytes())
    source.copy_tokenizer(target)


def load(folder: Path) -> cached.Exported:
    """The model as the folder's script runs it; `UserError` where that is not this version's script, which alone is executed."""
    if (folder / "run.py").read_bytes() != PROGRAM.read_bytes():
        raise UserError(f"{folder}/run.py is not what this version writes: run the stage `convert` again")
    model = numpy_program.Transformer(folder)

    def run(*inputs: Tensor) -> list[Tensor]:
        return [torch.from_numpy(array) for array in model(*(tensor.numpy() for tensor in inputs))]

    return cached.Exported(int(model.config["max_position_embeddings"]), model.empty(1).shape, run)
