"""Weights at few levels: how they are found (`grid`), stored (`storage`), computed with (`modules`) and what they cost (`report`)."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from pipeline import models, ops
from pipeline.errors import UserError
from pipeline.models.base import Model
from pipeline.quantization import grid, storage
from pipeline.quantization.modules import PackedMatrix, exchange


def quantize(matrices: Mapping[str, Tensor], origin: str, levels: Mapping[str, int] | None = None) -> dict[str, PackedMatrix]:
    """Each matrix [R, K] at its number of levels (5 by default), the scales of least squared error; `UserError` as `require_finite`.

    Kernels [O, C, h, w] are matrices of O rows.
    """
    require_finite(matrices, origin)
    packed = {}
    for name, weight in matrices.items():
        count = levels[name] if levels else 5
        digits, scale = grid.quantize(weight.detach().flatten(1), count)
        packed[name] = PackedMatrix(ops.pack(digits, count), scale, digits.shape[1], count)
    return packed


def require_finite(matrices: Mapping[str, Tensor], origin: str) -> None:
    """Raise `UserError` that begins with `origin` for weights that are not finite."""
    for name, weight in matrices.items():
        if not bool(weight.isfinite().all()):
            raise UserError(f"{origin}: {name} holds weights that are not finite: train again, at a lower learning rate")


def load(directory: Path, activations: str | None = None) -> Model:
    """The quantized model of a directory, computing from its packed weights: no float copy of them is made, not even while it is built.

    `activations` "int8" rounds each token's activations to 8 bits before each product, which is several times faster, "float" does not; by
    default it is what the model was made for. Raises `UserError` for files that are missing, damaged or do not fit each other, naming file
    and tensor.
    """
    config, matrices, others = storage.read(directory)
    made_for = config["quantization_config"].get("activations", "float")
    if made_for not in ("float", "int8"):
        raise UserError(f"{directory}/config.json: quantization_config.activations is {made_for!r}, not float or int8: {storage.AGAIN}")
    weights = sum(len(matrix.codes) * matrix.columns for matrix in matrices.values()) + sum(tensor.numel() for tensor in others.values())
    models.check_sizes(config, weights, len(matrices) + len(others), directory / "config.json")
    module = models.hollow(config, directory / "config.json")
    expected = {name: str([*parameter.flatten(1).shape]) for name, parameter in module.quantizable().items()}
    found = {name: str([matrix.codes.shape[0], matrix.columns]) for name, matrix in matrices.items()}
    _compare(found, expected, directory / "config.json")
    rest = {name: tensor for name, tensor in module.state_dict().items() if name not in expected}
    there, wanted = ({name: models.kind(tensors, name) for name in tensors} for tensors in (others, rest))
    _compare(there, wanted, directory / "model.safetensors")
    models.require_finite(others, directory / "model.safetensors")
    exchange(module, {parameter: matrices[name] for name, parameter in module.quantizable().items()}, activations or made_for)
    module.load_state_dict(others, strict=False, assign=True)
    return module.eval()


def _compare(found: Mapping[str, str], expected: Mapping[str, str], path: Path) -> None:
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            shapes = f"{found.get(name, 'not there')} where the model's sizes ask for {expected.get(name, 'no such tensor')}"
            raise UserError(f"{path}: {name} is {shapes}: {storage.AGAIN}")


__all__ = ["load", "quantize", "require_finite"]
