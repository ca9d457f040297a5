"""A graph of layers (`layers`): each takes the layer before it, or whichever it names. Batch norms can be folded away."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.models.base import Weights
from pipeline.models.pentary.layers import BatchNorm, Layer, initialize, make, mlp

INPUT = "input"
"""The name of what comes into a network."""


class Network(Weights):
    """Layers in the order in which they are computed. Shapes: x [B, ...] to what the last layer gives.

    `layers` are descriptions; each may have a `name` (its number by default) and `inputs`, the names of earlier layers or "input" (by
    default the layer before it). `ValueError` for a layer that cannot be, by name.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.description = wired(layers)
        modules = []
        for layer in self.description:
            try:
                modules.append(make(layer))
            except ValueError as error:
                raise ValueError(f"layer {layer['name']!r}: {error}") from None
        self.layers = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        values = {INPUT: x}
        result = x
        for layer, module in zip(self.description, self.layers, strict=True):
            result = values[layer["name"]] = module(*(values[name] for name in layer["inputs"]))
        return result


def wired(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """The descriptions with their names and inputs filled in; `ValueError` for a name twice, or an input that is no earlier layer."""
    found: list[dict[str, Any]] = []
    names = [INPUT]
    for i, layer in enumerate(layers):
        name, inputs = layer.get("name", str(i)), list(layer.get("inputs", [names[-1]]))
        unknown = [one for one in inputs if one not in names]
        if name in names or unknown:
            what = f"takes {unknown[0]!r}, which is no layer before it" if unknown else "is there twice"
            raise ValueError(f"layer {name!r} {what}")
        if not inputs or (len(inputs) > 1 and layer.get("type") not in ("add", "multiply", "concat")):
            raise ValueError(f"layer {name!r} of type {layer.get('type')!r} cannot take {len(inputs)} inputs")
        found.append({**layer, "name": name, "inputs": inputs})
        names.append(name)
    return found


def perceptron(input_dim: int, hidden_dims: Sequence[int], output_dim: int, seed: int) -> Network:
    """An MLP at the start of its training."""
    network = Network(mlp(input_dim, list(hidden_dims), output_dim))
    initialize(network, torch.Generator().manual_seed(seed))
    return network


@torch.no_grad()
def folded(network: Network) -> Network:
    """The same function without the batch norms that follow a linear layer or convolution alone; call it on a trained network.

    y = gamma (W x + b - mean) / sigma + beta has the weights gamma W / sigma and the bias gamma (b - mean) / sigma + beta. A norm in
    another place stays what it is, a scale and a shift of each channel.
    """
    layers = {layer["name"]: layer for layer in network.description}
    modules = dict(zip(layers, network.layers, strict=True))
    replaced: dict[str, str] = {}
    weights: dict[str, Mapping[str, Tensor]] = {name: module.state_dict() for name, module in modules.items()}
    for name, layer in layers.items():
        before = layer["inputs"][0]
        readers = [other["name"] for other in network.description if before in other["inputs"]]
        if isinstance(modules[name], BatchNorm) and isinstance(modules.get(before), nn.Linear | nn.Conv2d) and readers == [name]:
            weights[before] = _merged(modules[before], modules[name])
            layers[before] = {**layers[before], "use_bias": True}
            replaced[name] = before
    kept = [
        {**layer, "inputs": [replaced.get(one, one) for one in layer["inputs"]]} for name, layer in layers.items() if name not in replaced
    ]
    result = Network(kept)
    for layer, module in zip(kept, result.layers, strict=True):
        module.load_state_dict(weights[layer["name"]])
    return result.train(network.training)


def _merged(linear: nn.Module, norm: nn.Module) -> dict[str, Tensor]:
    state, statistics = linear.state_dict(), norm.state_dict()
    mean_O, variance_O = statistics["running_mean"], statistics["running_var"]
    gain_O = statistics["weight"] / (variance_O + norm.eps).sqrt()  # type: ignore[operator]
    weight = state["weight"] * gain_O.view(-1, *[1] * (state["weight"].dim() - 1))
    return {"weight": weight, "bias": (state.get("bias", 0.0) - mean_O) * gain_O + statistics["bias"]}
