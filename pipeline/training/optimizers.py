"""AdamW, and Muon for the hidden matrices: parameter groups, batched orthogonalisation, one face for both."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.models.base import Model

# Best odd quintics a x + b x^3 + c x^5 for the value 1 on [0.02, 1] composed three times, each minimax on what the one before leaves
# (greedy as in Amsel et al. 2025, "The Polar Express"): singular values from 0.02 to 1 end within 1 +- 0.1.
COEFFICIENTS = ((7.7110, -22.1138, 16.2487), (3.2153, -2.4112, 0.5013), (2.2183, -1.5940, 0.4107))


def orthogonalize(x_NRC: Tensor) -> Tensor:
    """Nearest semi-orthogonal matrix of each of N wide matrices (R <= C), about: singular values become 1, directions stay.

    Newton-Schulz on the Gram matrix G = X Xᵀ, so that all but the first and the last product are R x R: P(G) X is what iterating
    X <- a X + b G X + c G² X gives. X is first divided by the fourth root of the sum of its singular values' fourth powers, which is
    the root of G's norm: a tighter bound on the largest than the Frobenius norm of X, so fewer iterations are needed.
    """
    gram = x_NRC @ x_NRC.mT
    size = torch.linalg.matrix_norm(gram, keepdim=True).clamp_min(1e-20)
    gram = gram / size
    result = torch.eye(len(gram[0]), dtype=gram.dtype, device=gram.device).expand_as(gram)
    for i, (a, b, c) in enumerate(COEFFICIENTS):
        step = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        if i < len(COEFFICIENTS) - 1:
            half = torch.baddbmm(gram, step, gram, beta=a)
            gram = torch.baddbmm(half, half, step, beta=a)
        result = torch.baddbmm(result, step, result, beta=a)
    return torch.bmm(result, x_NRC) * size.rsqrt()


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised (Jordan et al. 2024), with decoupled weight decay; matrices of one shape go through it as one batch.

    A step moves each matrix by the learning rate times an update whose singular values are about sqrt(max(1, rows / columns)).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        shapes: dict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
        for parameter in parameters:
            shapes[tuple(sorted(parameter.shape))].append(parameter)
        groups = [{"params": shapes[shape]} for shape in sorted(shapes)]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            self._step(group)

    def _step(self, group: dict[str, Any]) -> None:
        parameters = group["params"]
        gradient = torch.stack([_wide(parameter.grad) for parameter in parameters])
        state = self.state[parameters[0]]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        average = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        update = orthogonalize(torch.lerp(gradient, average, group["momentum"]))
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        for parameter, change in zip(parameters, update, strict=True):
            rows, columns = parameter.shape
            parameter.add_(_like(change, parameter), alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def _wide(matrix: Tensor) -> Tensor:
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix


def _like(change: Tensor, parameter: Tensor) -> Tensor:
    return change.mT if parameter.shape[0] > parameter.shape[1] else change


def build(module: Model, settings: Any) -> list[torch.optim.Optimizer]:
    """The optimizers of `settings` (the block `training`); weights other than matrices do not decay."""
    hidden = set(module.hidden_matrices()) if settings.optimizer == "muon" else set()
    rest = [(name, p) for name, p in module.named_parameters() if name not in hidden]
    groups = [
        {"params": [p for _, p in rest if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for _, p in rest if p.dim() < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.learning_rate, betas=settings.betas, fused=True)
    if not hidden:
        return [adamw]
    matrices = [p for name, p in module.named_parameters() if name in hidden]
    return [adamw, Muon(matrices, settings.muon_learning_rate, settings.muon_momentum, settings.weight_decay)]


def set_rate(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """Set every group's learning rate to `factor` times what it was built with."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * factor
