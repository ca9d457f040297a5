"""What exporters start from: the quantized model's numbers, as whole digits with their scales, or as a float model of the same values."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from pipeline import models
from pipeline.models.base import Model
from pipeline.quantization import storage
from pipeline.quantization.modules import PackedMatrix


class Matrix(NamedTuple):
    """A quantized matrix: digits int8 [R, K], and scales float32 [R, G], each for K / G columns of its row."""

    digits_RK: Tensor
    scale_RG: Tensor
    levels: int

    @property
    def scale_RK(self) -> Tensor:
        """The scale of each digit."""
        return self.scale_RG.repeat_interleave(self.digits_RK.shape[1] // self.scale_RG.shape[1], 1)

    def dense(self) -> Tensor:
        """The float32 matrix [R, K] that it stands for."""
        return self.digits_RK.float() * self.scale_RK


def quantized(directory: Path) -> tuple[dict[str, Any], dict[str, Matrix], dict[str, Tensor]]:
    """Configuration (without a word on quantization), matrices and other tensors of a quantized directory; raises `UserError`."""
    config, matrices, others = storage.read(directory)
    plain = {key: entry for key, entry in config.items() if key != "quantization_config"}
    return plain, {name: _matrix(matrix) for name, matrix in matrices.items()}, others


def dense(directory: Path) -> Model:
    """The family's own module with the weights digit x scale of a quantized directory, in float32; raises `UserError`.

    Its `config` does not say that anything is quantized.
    """
    config, matrices, others = quantized(directory)
    return module(config, {name: matrix.dense() for name, matrix in matrices.items()} | others, directory / "config.json")


def module(config: dict[str, Any], tensors: Mapping[str, Tensor], path: Path) -> Model:
    """The family's own module, ready for inference; the matrix of a convolution may come as a row a kernel.

    Raises `UserError`, which names `path`, where the tensors are not what the configuration asks for.
    """
    models.check_sizes(config, sum(tensor.numel() for tensor in tensors.values()), len(tensors), path)
    shapes = models.hollow(config, path).state_dict()
    fitting = {name for name, tensor in tensors.items() if name in shapes and tensor.numel() == shapes[name].numel()}
    return models.assemble(config, {n: t.reshape(shapes[n].shape) if n in fitting else t for n, t in tensors.items()}, path, path)


def _matrix(packed: PackedMatrix) -> Matrix:
    return Matrix(packed.digits(), packed.scale.float().reshape(len(packed.scale), -1), packed.levels)
