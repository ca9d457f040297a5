"""Lesions: a module or a connection silenced, or held at its mean, to see what it is worth."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Lesions:
    """What is put in place of modules' rates and of what connections carry: a value each, 0.0 for silence, or the mean rates [N].

    A connection is named `source_target` (`anatomy.Connection.name`); what is given for it takes the place of its source's rates.
    """

    modules: dict[str, Tensor | float] = field(default_factory=dict)
    connections: dict[str, Tensor | float] = field(default_factory=dict)

    def any(self) -> bool:
        """Whether there are any."""
        return bool(self.modules or self.connections)

    def of_module(self, name: str, rate_BN: Tensor) -> Tensor:
        """The module's rates, or what stands for them."""
        if name not in self.modules:
            return rate_BN
        return rate_BN * 0 + self.modules[name]

    def of_connection(self, name: str, rate_BK: Tensor) -> Tensor:
        """What the connection carries of its source's rates, or what stands for it."""
        return rate_BK * 0 + self.connections[name] if name in self.connections else rate_BK
