"""The ten connections as matrices, those that leave a module together multiplied together."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

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
    """A linear for each connection. With `density` below 1, each neuron has that share of its possible synapses, chosen once by the seed."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        linears = {c.name: nn.Linear(sizes(config)[c.source], outputs(config, c), bias=False) for c in CONNECTIONS}
        super().__init__(linears)

    def window(self, lesions: Lesions) -> Project:
        """The projections for the tokens of one window."""
        whole = all(isinstance(linear.weight, Tensor) for linear in self.values())
        if not torch.is_grad_enabled() or lesions.connections or not whole:
            return lambda bundle, x_BK: {c.target: self._one(c, x_BK, lesions) for c in BUNDLES[bundle]}
        products = {name: Projection(torch.cat([self[c.name].weight for c in parts])) for name, parts in BUNDLES.items()}
        rows = {name: [len(self[c.name].weight) for c in parts] for name, parts in BUNDLES.items()}

        def project(bundle: str, x_BK: Tensor) -> dict[str, Tensor]:
            parts = products[bundle](x_BK).split(rows[bundle], 1)
            return {c.target: part for c, part in zip(BUNDLES[bundle], parts, strict=True)}

        return project

    def _one(self, connection: Connection, x_BK: Tensor, lesions: Lesions) -> Tensor:
        if connection.name in lesions.connections:
            x_BK = x_BK * 0 + lesions.connections[connection.name]
        y: Tensor = self[connection.name](x_BK)
        return y
