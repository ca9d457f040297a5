"""NumPy: packed digits and scales in an .npz file, and one script that runs the model with nothing else installed (`numpy_program`)."""

import io as memory
import math
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline import io, models
from pipeline.conversion import Bounds, Source, cached, digits, numpy_program, weights
from pipeline.errors import UserError
from pipeline.models.base import Model
from pipeline.ops.reference import CODES

BOUNDS = Bounds(max_logit_difference=1e-3, kl_divergence=1e-6, greedy_equal=0.9)
WEIGHTS = "model.npz"
AGAIN = "run the stage `convert` again"
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
        raise UserError(f"{folder}/run.py is not what this version writes: {AGAIN}")
    _check(folder)
    model = numpy_program.Transformer(folder)

    def run(*inputs: Tensor) -> list[Tensor]:
        return [torch.from_numpy(array) for array in model(*(tensor.numpy() for tensor in inputs))]

    return cached.Exported(int(model.config["max_position_embeddings"]), model.empty(1).shape, run)


def _check(folder: Path) -> None:
    """Raise `UserError` where the arrays are not, by their headers, what config.json and matrices.json ask for; none of them is read."""
    path, config = folder / WEIGHTS, models.read_config(folder)
    described = io.read_json(folder / "matrices.json")
    models.check_sizes(config, 8 * path.stat().st_size, path.stat().st_size, folder / "config.json")
    module = models.hollow(config, folder / "config.json")
    found = _headers(path)
    expected: dict[str, str] = {}
    for name, tensor in module.state_dict().items():
        entry = described.get(name) if isinstance(described, dict) else None
        if entry is None:
            expected[name] = f"float32 {tuple(tensor.shape)}"
            continue
        rows, columns = tensor.shape
        levels = entry.get("levels") if isinstance(entry, dict) else None
        if type(levels) is not int or levels not in CODES or entry.get("columns") != columns:
            raise UserError(f"{folder}/matrices.json: {name} is {entry!r}, which cannot be: {AGAIN}")
        groups = found.get(f"{name}.scale", "").partition(", ")[2].rstrip(",)")
        if not groups.isdecimal() or len(groups) > 9 or not int(groups) or columns % int(groups):
            raise UserError(f"{path}: {name}.scale is {found.get(f'{name}.scale')}, which does not divide {columns} columns: {AGAIN}")
        expected[f"{name}.codes"] = f"uint8 {(rows, -(-columns // digits.per_byte(levels)))}"
        expected[f"{name}.scale"] = f"float32 {(rows, int(groups))}"
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise UserError(f"{path}: {name} is {found.get(name)}, but config.json asks for {expected.get(name)}: {AGAIN}")


def _headers(path: Path) -> dict[str, str]:
    """Type and shape of each array of an .npz file that is stored as it is; `UserError` for another file."""
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise ValueError(f"{entry.filename} is compressed")
                with archive.open(entry) as file:
                    np.lib.format.read_magic(file)
                    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=1000)
                if fortran or entry.file_size > math.prod(shape) * dtype.itemsize + 1000:
                    raise ValueError(f"{entry.filename} is not as long as it says")
                found[entry.filename.removesuffix(".npy")] = f"{dtype} {shape}"
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path} is damaged ({error}): {AGAIN}") from None
    return found
