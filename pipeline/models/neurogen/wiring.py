"""The ten connections as matrices, in bundles of those that leave a module together."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import rng
from pipeline.models.neurogen.anatomy import CONNECTIONS, Connection, outputs, sizes
from pipeline.models.neurogen.lesions import Lesions

BACK = ("thalamus", "wernicke", "prefrontal")
"""What the prefrontal cortex tells of the last token; to others it tells of this one."""


def bundle_of(connection: Connection) -> str:
    """Connections of one bundle have the same source at the same time."""
    return "feedback" if connection.source == "prefrontal" and connection.target in BACK else connection.source


BUNDLES = {bundle_of(c): tuple(d for d in CONNECTIONS if bundle_of(d) == bundle_of(c)) for c in CONNECTIONS}


class Wiring(nn.ModuleDict):
    """A linear for each connection. With `density` below 1, each neuron has that share of its possible synapses, alike in every brain."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        linears = {c.name: nn.Linear(sizes(config)[c.source], outputs(config, c), bias=False) for c in CONNECTIONS}
        super().__init__(linears)
        self.density = float(config["density"])
        if self.density < 1:
            for name, linear in linears.items():
                linear.register_buffer("synapses", synapses(name, linear.weight, self.density), persistent=False)

    def project(self, bundle: str, x_BK: Tensor, lesions: Lesions) -> dict[str, Tensor]:
        """What reaches each target of a bundle's connections from its source's rates [B, K]."""
        return {c.target: self._one(c, x_BK, lesions) for c in BUNDLES[bundle]}

    def bundles(self) -> dict[str, Tensor]:
        """The matrix of each bundle, in the order that a token meets them."""
        order = ("feedback", "thalamus", "wernicke", "hippocampus", "prefrontal", "basal_ganglia")
        return {name: torch.cat([self.weight(c) for c in BUNDLES[name]]) for name in order}

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
        if self.density < 1 and torch.is_grad_enabled():
            return F.linear(x_BK, self.weight(connection))
        y: Tensor = self[connection.name](x_BK)
        return y


def synapses(name: str, weight: Tensor, density: float) -> Tensor:
    """Where a connection has synapses: as many ones in each row of a matrix of zeros as make up `density`, at least one."""
    chances = torch.rand(weight.shape, generator=rng.generator(0, "synapses", name))
    chosen = chances.topk(max(1, round(density * weight.shape[1])), 1).indices
    return torch.zeros(weight.shape).scatter_(1, chosen, 1.0)
