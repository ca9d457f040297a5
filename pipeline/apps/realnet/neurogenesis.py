"""Growth and renewal of a live network, its optimizer's memory included."""

import torch
from torch import Tensor, nn

from pipeline.models.realnet.network import RealNet
from pipeline.models.realnet.weights import fresh

SILENCE = {"sigmoid": -20.0}
"""Bias that keeps a new neuron at zero, for activations that are not zero at zero."""
RULES = ("magnitude", "usefulness")


@torch.no_grad()
def expand(model: RealNet, optimizer: torch.optim.Optimizer | None, amount: int = 1, noise: float = 1e-2) -> None:
    """Add `amount` neurons at the end; the outputs stay what they were (dropout apart), and the optimizer keeps its moments.

    A new neuron has no incoming weights, so it is silent, and random outgoing ones (standard deviation `noise`), through which its incoming
    weights learn. RMSNorm averages over all neurons: gain and epsilon take up the factor that the silent ones bring.
    `ValueError` for an amount below 1.
    """
    if isinstance(amount, bool) or not isinstance(amount, int) or amount < 1:
        raise ValueError(f"amount must be a whole number of at least 1, not {amount!r}")
    old, new = model.num_neurons, model.num_neurons + amount
    silence = SILENCE.get(model.activation, 0.0)
    W = torch.cat([torch.cat([model.W, model.W.new_zeros(old, amount)], 1), noise * torch.randn(amount, new).to(model.W)])
    W[old:, old:] = 0
    shrink = (old / new) ** 0.5
    grown = {
        "W": W,
        "b": torch.cat([model.b, model.b.new_full((amount,), silence)]),
        "gain": torch.cat([model.gain, model.gain.new_ones(amount)]) * shrink,
    }
    for name, value in grown.items():
        _replace(model, optimizer, name, value)
    model.epsilon *= old / new
    model.num_neurons = new


def _replace(model: RealNet, optimizer: torch.optim.Optimizer | None, name: str, value: Tensor) -> None:
    """Put a larger parameter in the place of an old one, in the network and in every group and moment of the optimizer."""
    before, after = getattr(model, name), nn.Parameter(value)
    setattr(model, name, after)
    if optimizer is None:
        return
    for group in optimizer.param_groups:
        group["params"] = [after if parameter is before else parameter for parameter in group["params"]]
    state = optimizer.state.pop(before, None)
    if state is not None:
        optimizer.state[after] = {key: _grown(held, before, after) for key, held in state.items()}


def _grown(held: object, before: Tensor, after: Tensor) -> object:
    """A moment of the old parameter's shape, zero where the parameter is new; anything else as it is."""
    if not isinstance(held, Tensor) or held.shape != before.shape:
        return held
    larger = held.new_zeros(after.shape)
    larger[tuple(slice(size) for size in before.shape)] = held
    return larger


@torch.no_grad()
def regenerate(
    model: RealNet,
    optimizer: torch.optim.Optimizer | None,
    threshold: float = 0.01,
    percentage: float | None = None,
    *,
    rule: str = "magnitude",
    relative: bool = True,
    dry_run: bool = False,
) -> tuple[int, int]:
    """Draw useless synapses anew by the network's initialiser and forget their moments; returns (revived, total).

    A synapse is useless where its score is below `threshold`, or among the lowest `percentage` (0.05: 5 %). The score is |W| by the rule
    "magnitude", |W x gradient| of the last batch by "usefulness". `relative` measures |W| in the initialiser's standard deviation: as an
    absolute number, 0.01 would call a fifth of a fresh network of 800 neurons useless. With `dry_run` nothing changes.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, not {rule!r}")
    if percentage is not None and not 0 <= percentage <= 1:
        raise ValueError(f"percentage must be a share from 0 to 1, not {percentage!r}")
    score = model.W.abs()
    if rule == "usefulness":
        if model.W.grad is None:
            raise ValueError("rule = 'usefulness' needs a gradient: train a batch first")
        score = (model.W * model.W.grad).abs()
    elif relative and percentage is None:
        if model.initial_scale == 0:
            raise ValueError(f"weight_init = {model.weight_init!r} has no spread to measure by: say relative=False, or give a percentage")
        threshold *= model.initial_scale
    total = score.numel()
    if percentage is None:
        useless = score < threshold
    else:
        lowest = score.flatten().argsort(stable=True)[: round(percentage * total)]
        useless = torch.zeros(total, dtype=torch.bool, device=score.device).index_fill(0, lowest, True).view_as(score)
    count = int(useless.sum())
    if count and not dry_run:
        model.W.copy_(torch.where(useless, fresh(model.weight_init, model.num_neurons).to(model.W), model.W))
        for held in (optimizer.state.get(model.W, {}) if optimizer is not None else {}).values():
            if isinstance(held, Tensor) and held.shape == model.W.shape:
                held[useless] = 0
    return count, total
