"""The ten connections as matrices, those that leave a module together multiplied together."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline import rng
from pipeline.models.neurogen.anatomy import CONNECTIONS, Connection, outputs, sizes
from pipeline.models.neurogen.lesions import Lesions
from pipeline.models.neurogen.synapses import Projection

BACK = ("thalamus", "wernicke", "prefrontal")
"""What the prefrontal cortex tells of the last token; to others it tells of this one."""


def bundle_of(connection: Connection) -> str:
    """Connections of one bundle have the same source at the same time."""
    return "feedback" if connection.source == "prefrontal" and connection.target in BACK else connection.source


BUNDLES = {bundle_of(c): tuple(d for d in CONNECTIONS if bundle_of(d) == bundle_of(c)) for c in CONNECTIONS}

Project = Callable[[str, Tensor], dict[str, Tensor]]
"""Name of a bundle and its source's rates [B, K] to what reaches each target."""


class Wiring(nn.ModuleDict):
    """A linear for each connection. With `density` below 1, each neuron has that share of its possible synapses, alike in every brain."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        linears = {c.name: nn.Linear(sizes(config)[c.source], outputs(config, c), bias=False) for c in CONNECTIONS}
        super().__init__(linears)
        self.density = float(config["density"])
        if self.density < 1:
            for name, linear in linears.items():
                linear.register_buffer("synapses", synapses(name, linear.weight, self.density), persistent=False)

    def window(self, lesions: Lesions) -> Project:
        """The projections for the tokens of one window."""
        whole = all(isinstance(linear.weight, Tensor) for linear in self.values())
        if not torch.is_grad_enabled() or lesions.connections or not whole:
            return lambda bundle, x_BK: {c.target: self._one(c, x_BK, lesions) for c in BUNDLES[bundle]}
        weights = {name: [self.weight(c) for c in parts] for name, parts in BUNDLES.items()}
        products = {name: Projection(torch.cat(parts)) for name, parts in weights.items()}
        rows = {name: [len(part) for part in parts] for name, parts in weights.items()}

        def project(bundle: str, x_BK: Tensor) -> dict[str, Tensor]:
            parts = products[bundle](x_BK).split(rows[bundle], 1)
            return {c.target: part for c, part in zip(BUNDLES[bundle], parts, strict=True)}

        return project

    def weight(self, connection: Connection) -> Tensor:
        """A connection's matrix, zero where there is no synapse."""
        linear: Any = self[connection.name]
        weight: Tensor = linear.weight
        return weight * linear.synapses if self.density < 1 else weight

    @torch.no_grad()
    def prune(self) -> None:
        """Put zeros where there is no synapse: no gradient reaches them afterwards."""
        for connection in CONNECTIONS:
            linear: Any = self[connection.name]
            linear.weight.copy_(self.weight(connection))

    def _one(self, connection: Connection, x_BK: Tensor, lesions: Lesions) -> Tensor:
        if connection.name in lesions.connections:
            x_BK = x_BK * 0 + lesions.connections[connection.name]
        y: Tensor = self[connection.name](x_BK)
        return y


def synapses(name: str, weight: Tensor, density: float) -> Tensor:
    """Where a connection has synapses: as many ones in each row of a matrix of zeros as make up `density`, at least one."""
    chances = torch.rand(weight.shape, generator=rng.generator(0, "synapses", name))
    chosen = chances.topk(max(1, round(density * weight.shape[1])), 1).indices
    return torch.zeros(weight.shape).scatter_(1, chosen, 1.0)
