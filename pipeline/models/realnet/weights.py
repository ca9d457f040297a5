"""How the recurrent matrix begins."""

import torch
from torch import Tensor, nn


def _resonant(weight: Tensor) -> None:
    """Random signs with a little noise, scaled so that the circular law puts the spectral radius near 1."""
    weight.copy_((torch.randint_like(weight, 2) * 2 - 1 + 0.02 * torch.randn_like(weight)) / weight.shape[0] ** 0.5)


INITIALISERS = {
    "orthogonal": nn.init.orthogonal_,
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "kaiming_uniform": lambda weight: nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
    "kaiming_normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "sparse": lambda weight: nn.init.sparse_(weight, 0.9, 0.02),
    "resonant": _resonant,
    "classic": lambda weight: nn.init.normal_(weight, 0.0, 1.0),
    "quiet": lambda weight: nn.init.normal_(weight, 0.0, 0.02),
    "micro_quiet": lambda weight: nn.init.normal_(weight, 0.0, 1e-6),
    "zero": nn.init.zeros_,
    "one": nn.init.ones_,
}
"""Name -> a function that fills a matrix in place, from torch's random numbers."""


def fresh(name: str, neurons: int) -> Tensor:
    """A new matrix [neurons, neurons] by the initialiser `name`."""
    weight = torch.empty(neurons, neurons)
    with torch.no_grad():
        INITIALISERS[name](weight)
    return weight


def allowed(argument: str, value: object, names: object) -> None:
    """`ValueError` that names argument, value and choices unless `value` is one of `names`."""
    choices = [str(name) for name in names]  # type: ignore[attr-defined]
    if value not in choices:
        raise ValueError(f"{argument} must be one of {', '.join(choices)}, not {value!r}")
