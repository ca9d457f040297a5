"""The ten connections, in bundles of those that leave a module together."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from pipeline.models.neurogen.anatomy import CONNECTIONS, Connection, outputs, sizes
from pipeline.models.neurogen.lesions import Lesions
from pipeline.models.sparse import FanIn

BACK = ("thalamus", "wernicke", "prefrontal")
"""What the prefrontal cortex tells of the last token; to others it tells of this one."""


def bundle_of(connection: Connection) -> str:
    """Connections of one bundle have the same source at the same time."""
    return "feedback" if connection.source == "prefrontal" and connection.target in BACK else connection.source


BUNDLES = {bundle_of(c): tuple(d for d in CONNECTIONS if bundle_of(d) == bundle_of(c)) for c in CONNECTIONS}


Carriers = dict[str, Callable[[Tensor], Tensor]]
"""What computes each connection, by its name."""


class Wiring(nn.ModuleDict):
    """A linear map for each connection: dense, or with `fan_in` sources of each neuron, alike in every brain."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.fan_in: int | None = config["fan_in"]
        self.update({c.name: self._connection(config, c) for c in CONNECTIONS})

    def _connection(self, config: Mapping[str, Any], connection: Connection) -> nn.Module:
        inputs, rows = sizes(config)[connection.source], outputs(config, connection)
        if self.fan_in is None:
            return nn.Linear(inputs, rows, bias=False)
        return FanIn(inputs, rows, min(self.fan_in, inputs), connection.name)

    def carriers(self) -> Carriers:
        """The maps, for a run during which the weights stay."""
        collect = self.training and torch.is_grad_enabled()

        def once(layer: nn.Module) -> bool:
            return isinstance(layer, FanIn) and (collect or is_parametrized(layer, "weight"))

        return {name: layer.opened() if once(layer) else layer for name, layer in self.items()}  # type: ignore[operator]

    def project(self, bundle: str, x_BK: Tensor, lesions: Lesions, carriers: Carriers) -> dict[str, Tensor]:
        """What reaches each target of a bundle's connections from its source's rates [B, K]."""
        return {c.target: carriers[c.name](lesions.of_connection(c.name, x_BK)) for c in BUNDLES[bundle]}

    def bundles(self) -> dict[str, Tensor]:
        """The matrix of each bundle of dense connections, in the order that a token meets them."""
        order = ("feedback", "thalamus", "wernicke", "hippocampus", "prefrontal", "basal_ganglia")
        layers: Any = self
        return {name: torch.cat([layers[c.name].weight for c in BUNDLES[name]]) for name in order}

    def presynaptic(self, connection: Connection, x_BK: Tensor) -> Tensor:
        """What each synapse of each target gets: [B, 1 or M, K or F]."""
        layer = self[connection.name]
        return layer.gathered(x_BK) if isinstance(layer, FanIn) else x_BK[:, None]

    def outer(self, connection: Connection, y_BR: Tensor, x_BK: Tensor) -> Tensor:
        """For the weights of the first R targets, the sum over rows of target's y times source's x: [R, K or F]."""
        layer = self[connection.name]
        return layer.outer(y_BR, x_BK) if isinstance(layer, FanIn) else y_BR.t() @ x_BK
