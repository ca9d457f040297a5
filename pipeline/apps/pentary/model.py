"""PentaryModel: a feed-forward network at five levels, from a list of widths or of layers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pipeline import quantization
from pipeline.apps.pentary import layers
from pipeline.errors import UserError
from pipeline.models.base import Weights
from pipeline.models.pentary.layers import initialize, mlp
from pipeline.models.pentary.network import Network, folded
from pipeline.quantization.modules import PackedMatrix, exchange

Array = npt.NDArray[Any]
Layers = Sequence[Mapping[str, Any]]
HIDDEN = (128, 64)


class PentaryModel(Weights):
    """x [B, input_dim] to [B, output_dim]: linear layers of the widths `hidden_dims` (128, 64), and a ReLU after each but the last.

    layers: descriptions (`pipeline.models.pentary.layers`) of any other network of these dimensions in place of that one, such as
    convolutions after a `reshape`. The weights are at five levels from the start; `to_float` and `to_five_levels` change that, and
    training goes through both. seed: of the first weights. mask_width, bias_levels: see `layers.PentaryLinear`. `UserError` for sizes
    that cannot be.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        hidden_dims: Sequence[int] | None = None,
        *,
        layers: Layers | None = None,
        seed: int = 0,
        mask_width: float = 2.0,
        bias_levels: int | None = None,
    ) -> None:
        super().__init__()
        self.input_dim, self.output_dim = input_dim, output_dim
        self.hidden_dims = list(HIDDEN if hidden_dims is None and layers is None else hidden_dims or [])
        for name, size in (("input_dim", input_dim), ("output_dim", output_dim), *(("hidden_dims", width) for width in self.hidden_dims)):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise UserError(f"PentaryModel: {name} must be whole numbers of at least 1, not {size!r}")
        self.mask_width, self.bias_levels = mask_width, bias_levels
        try:
            self.network = Network(mlp(input_dim, self.hidden_dims, output_dim) if layers is None else layers)
            with torch.device("meta"):
                shape = list(Network(self.network.description).eval()(torch.zeros(1, input_dim)).shape)
        except (ValueError, RuntimeError) as error:
            raise UserError(f"PentaryModel: layers cannot take {input_dim} inputs: {error}") from None
        if shape != [1, output_dim]:
            raise UserError(f"PentaryModel: layers make {shape[1:]}, not the {output_dim} outputs of output_dim")
        initialize(self.network, torch.Generator().manual_seed(seed))
        self.to_five_levels()

    def forward(self, x: Tensor | Array) -> Tensor:
        """Outputs [B, output_dim], with a gradient; x may be a NumPy array."""
        x = torch.as_tensor(x, dtype=torch.float32)
        if x.dim() != 2 or x.shape[1] != self.input_dim:
            raise ValueError(f"x must be [B, {self.input_dim}], not {list(x.shape)}")
        outputs: Tensor = self.network(x)
        return outputs

    @torch.no_grad()
    def predict(self, x: Tensor | Array) -> Array:
        """Outputs as a NumPy array, with batch norms as they are when they do not learn."""
        training = self.training
        outputs = self.eval()(x).numpy()
        self.train(training)
        return np.asarray(outputs)

    @property
    def at_five_levels(self) -> bool:
        return any(parametrize.is_parametrized(layer, "weight") for layer in self.network.layers)

    def to_five_levels(self) -> None:
        """Let every matrix compute at five levels, from the float weights on (nothing happens where they do)."""
        layers.to_five_levels(self.network, self.mask_width, self.bias_levels)

    def to_float(self) -> None:
        """Let the float weights behind the digits compute."""
        layers.to_float(self.network)

    def fold(self) -> None:
        """Fold batch norms into the layers before them, and compute in float from then on."""
        self.network = folded(layers.dense(self.network))

    @classmethod
    def load(cls, path: str | Path) -> "PentaryModel":
        """The model of a file or directory, which computes exactly as it says; what `PentaryTrainer.save_model` wrote, or a pipeline's
        `exports/MODEL/json/model.json`.

        `UserError` as `directory.load`, and for a model over a fusion of raw samples, which only a trainer can take.
        """
        from pipeline.apps.pentary import directory  # which knows models itself

        network, head, fusion = directory.load(Path(path))
        if fusion is not None:
            raise UserError(f"{path} takes raw samples through a fusion: load it by `PentaryTrainer.load_model`")
        model = cls(1, 1, [])
        model.replace(network, head["input_dim"], head["output_dim"], head["hidden_dims"])
        return model

    def packed(self) -> tuple[Network, dict[str, PackedMatrix]]:
        """The plain network with its batch norms folded, and its matrices at five levels by their names in it."""
        plain, matrices = layers.packed(self.network)
        small = folded(plain)
        if small.description == plain.description:
            return plain, matrices
        return small, quantization.quantize(small.quantizable(), "the model")

    def replace(self, network: Network, input_dim: int, output_dim: int, hidden_dims: Sequence[int]) -> None:
        """Compute by another network of plain weights from now on, exactly as it does."""
        self.network, self.input_dim, self.output_dim, self.hidden_dims = network, input_dim, output_dim, list(hidden_dims)

    def deployed(self, activations: str = "float") -> nn.Module:
        """A copy for inference on the packed kernels; activations "int8" are the fastest (`pipeline.ops.linear`)."""
        plain, matrices = self.packed()
        exchange(plain, {parameter: matrices[name] for name, parameter in plain.quantizable().items()}, activations)
        return plain.eval().requires_grad_(False)
