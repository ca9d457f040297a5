"""A window of tokens through the brain in one native call a pass: what `brain.Cycle` computes, many times faster on a CPU.

The gradients of weights are one product over all tokens at the end. No gradient passes to the window before. Names and shapes as in
`brain`; histories have T + 1 entries where the first is the state's.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline.models.neurogen.anatomy import MODULES
from pipeline.models.neurogen.memory import THRESHOLD
from pipeline.models.neurogen.neurons import BETA, HEIGHT, RHO, SLACK
from pipeline.ops import brain
from pipeline.ops.reference_phase import EPSILON

NUMBERS = {"rho": RHO, "beta": BETA, "height": HEIGHT, "epsilon": EPSILON, "key_threshold": THRESHOLD, "slack": SLACK}


class Weights(NamedTuple):
    """What a gradient is taken of: the drive [T, B, N] of the thalamus, the bundles of connections, and vectors over all neurons."""

    drive: Tensor
    feedback: Tensor
    thalamus: Tensor
    wernicke: Tensor
    hippocampus: Tensor
    prefrontal: Tensor
    basal_ganglia: Tensor
    gain: Tensor
    bias: Tensor
    decay: Tensor
    """[N], with numbers that mean nothing for the prefrontal cortex; and so for charge."""
    charge: Tensor
    sensitivity: Tensor
    """[2, N]."""
    gate_gain: Tensor
    gate_bias: Tensor
    key_gain: Tensor
    key_bias: Tensor
    retention: Tensor
    plasticity: Tensor


class Plan(NamedTuple):
    """What a window is computed with besides weights."""

    sizes: dict[str, int]
    steps: dict[str, int]
    tokens_TB: Tensor
    head: tuple[Tensor, Tensor]
    """Weight and bias that make logits of Broca's rates, without a gradient."""
    state: Any


class Window:
    """The forward pass; what it keeps is what the backward pass reads."""

    def __init__(self, plan: Plan, weights: Weights) -> None:
        self.plan, self.weights, self.sizes = plan, weights, plan.sizes
        inputs = weights._asdict() | {"tokens": plan.tokens_TB, "head": plan.head[0], "head_bias": plan.head[1]}
        self.run = brain.Window(list(plan.sizes.values()), list(plan.steps.values()), NUMBERS, inputs)
        self.columns = brain.columns(self.run.neurons, len(weights.key_gain))
        self.length, self.batch = plan.tokens_TB.shape
        state = plan.state
        self.kept = {
            **self.histories("rates", state.rates),
            **self.histories("voltage", state.voltage),
            **self.histories("adaptation", state.adaptation),
            "memory": self.history(state.memory),
            "key": self.history(state.key),
            "levels": self.history(state.modulators),
            "sums": self.buffer(self.columns["width"]),
            "row_decay": self.buffer(plan.sizes["prefrontal"]),
            "opening": self.buffer(),
        }
        brain.forward(self.run, self.kept)

    def buffer(self, *shape: int) -> Tensor:
        """Room for the window's tokens."""
        return torch.empty(self.length, self.batch, *shape)

    def history(self, first: Tensor) -> Tensor:
        """Room for the window's tokens behind the state."""
        room = first.new_empty(self.length + 1, *first.shape)
        room[0] = first
        return room

    def histories(self, kind: str, first_BN: Tensor) -> dict[str, Tensor]:
        """One for each module."""
        parts = first_BN.split(list(self.sizes.values()), 1)
        return {f"{kind}.{name}": self.history(part) for name, part in zip(self.sizes, parts, strict=True)}

    def end(self) -> tuple[Tensor, ...]:
        """Voltage, adaptation and rates of all modules side by side, memory, key and modulators after the last token."""
        cells = (torch.cat([self.kept[f"{kind}.{name}"][-1] for name in self.sizes], 1) for kind in ("voltage", "adaptation", "rates"))
        return *cells, *(self.kept[name][-1].clone() for name in ("memory", "key", "levels"))

    def backward(self, rates: dict[str, Tensor | None]) -> tuple[Tensor, ...]:
        """The gradients of `weights`, from those of each module's rates [T, B, N]."""
        neurons, weights = sum(self.run.neurons), self.weights
        gradients: dict[str, Tensor | None] = {f"rates.{name}": gradient for name, gradient in rates.items()}
        sums, vectors, gate = self.buffer(self.columns["width"]), torch.empty(6, neurons), torch.empty(2, len(weights.gate_gain))
        key, plasticity = torch.empty(3, len(weights.key_gain)), torch.empty(3)
        own = {"sums": sums, "vectors": vectors, "gate": gate, "key": key, "plasticity": plasticity}
        brain.backward(self.run, self.kept, gradients | own)
        drive = sums[:, :, : self.sizes["thalamus"]]
        return drive, *self.matrices(sums), *vectors[:4], vectors[4:], *gate, *key, plasticity

    def matrices(self, sums: Tensor) -> list[Tensor]:
        """The gradients of the bundles: of each, those of the sums it adds to, times the rates it carries, over all tokens."""
        starts = self.columns
        hippocampus, broca = starts["value"] + self.sizes["hippocampus"], starts["broca"] + self.sizes["broca"]
        uses = (
            ("thalamus", starts["key"], "prefrontal", slice(-1)),
            ("wernicke", starts["prefrontal"], "thalamus", slice(1, None)),
            ("prefrontal", hippocampus, "wernicke", slice(1, None)),
            ("prefrontal", starts["key"], "hippocampus", slice(1, None)),
            ("basal_ganglia", broca, "prefrontal", slice(1, None)),
            ("go", starts["hippocampus"], "basal_ganglia", slice(1, None)),
        )
        matrices = []
        for first, last, source, times in uses:
            rates = self.kept[f"rates.{source}"][times].flatten(0, 1)
            matrices.append(sums[:, :, starts[first] : last].flatten(0, 1).t() @ rates)
        matrices[0][: self.sizes["thalamus"]].neg_()  # feedback inhibits the thalamus
        return matrices


class WindowRun(torch.autograd.Function):
    """Rates of each module [T, B, N] of the plan in `holder`, which gets the window."""

    @staticmethod
    def forward(ctx: Any, holder: list[Any], *weights: Tensor) -> tuple[Tensor, ...]:
        window = Window(holder[0], Weights(*weights))
        holder.append(window)
        ctx.window = window
        ctx.set_materialize_grads(False)
        return tuple(window.kept[f"rates.{name}"][1:] for name in MODULES)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, *ctx.window.backward(dict(zip(MODULES, gradients, strict=True)))
