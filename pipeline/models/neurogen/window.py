"""A window of tokens through the brain, forwards and backwards by hand: what `brain.Cycle` computes, several times faster on a CPU.

Every step's values lie in memory that is taken once a window, and the gradients of weights are one product over all its tokens at the end.
No gradient passes to the window before. Names and shapes as in `brain`; buffers have T + 1 entries where the first is the state's.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline.models.neurogen import modulators
from pipeline.models.neurogen.anatomy import MODULES
from pipeline.models.neurogen.backward import Backward
from pipeline.models.neurogen.memory import THRESHOLD
from pipeline.models.neurogen.neurons import BETA, HEIGHT, RHO, SLACK
from pipeline.ops import phase, recall
from pipeline.ops.reference_phase import EPSILON


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
    predict: Callable[[Tensor], Tensor]
    """Broca's rates to logits."""
    state: Any


class Window:
    """The forward pass; what it keeps is what `Backward` reads."""

    def __init__(self, plan: Plan, weights: Weights) -> None:
        self.plan, self.weights, state = plan, weights, plan.state
        self.length, self.batch = plan.tokens_TB.shape
        sizes = list(plan.sizes.values())

        def parts(x: Tensor) -> dict[str, Tensor]:
            return {name: part.contiguous() for name, part in zip(MODULES, x.split(sizes, -1), strict=True)}

        def history(x_BN: Tensor) -> dict[str, Tensor]:
            return {name: self.history(part) for name, part in parts(x_BN).items()}

        self.gain, self.bias, self.sensitivity = parts(weights.gain), parts(weights.bias), parts(weights.sensitivity)
        self.decay, self.charge = parts(weights.decay[None]), parts(weights.charge[None])
        self.voltage, self.adaptation, self.rates = history(state.voltage), history(state.adaptation), history(state.rates)
        self.memory, self.key, self.levels = self.history(state.memory), self.history(state.key), self.history(state.modulators)
        self.current = {name: self.buffer(size) for name, size in plan.sizes.items()}
        self.modulation = {name: self.buffer(size) for name, size in plan.sizes.items()}
        self.ones = {name: torch.ones(1, size) for name, size in plan.sizes.items()}
        cortex, hippocampus, keys = plan.sizes["prefrontal"], plan.sizes["hippocampus"], self.key.shape[2]
        self.gate, self.row_decay, self.row_charge = (self.buffer(cortex) for _ in range(3))
        self.gate_moments, self.key_moments = (torch.empty(self.length, 2, self.batch, 1) for _ in range(2))
        self.go, self.opened = self.buffer(plan.sizes["broca"]), self.buffer(plan.sizes["broca"])
        self.key_raw, self.key_distance = self.buffer(keys), self.buffer(keys)
        self.value, self.eta = self.buffer(hippocampus), self.buffer()

    def buffer(self, *shape: int) -> Tensor:
        """Room for the window's tokens."""
        return torch.empty(self.length, self.batch, *shape)

    def history(self, first: Tensor) -> Tensor:
        """Room for the window's tokens behind the state."""
        room = first.new_empty(self.length + 1, *first.shape)
        room[0] = first
        return room

    def run(self) -> None:
        """All tokens, one after the other."""
        for t in range(self.length):
            self.modulate(t)
            self.perceive(t)
            self.integrate(t)
            self.act(t)

    def modulate(self, t: int) -> None:
        prediction_BV = self.plan.predict(self.rates["broca"][t])
        levels = self.levels[t + 1] = modulators.update(self.levels[t], prediction_BV, self.plan.tokens_TB[t])
        levels_B2, plasticity = levels[:, :2], self.weights.plasticity
        for name, ones in self.ones.items():
            torch.addmm(ones, levels_B2, self.sensitivity[name], out=self.modulation[name][t])
        torch.sigmoid(torch.addmv(plasticity[0], levels_B2, plasticity[1:]), out=self.eta[t])

    def perceive(self, t: int) -> None:
        w, (thalamus, wernicke, *_) = self.weights, self.plan.sizes.values()
        self.back_BM = self.rates["prefrontal"][t] @ w.feedback.t()
        torch.sub(w.drive[t], self.back_BM[:, :thalamus], out=self.current["thalamus"][t])
        self.fire("thalamus", t)
        context_BN = self.back_BM[:, thalamus : thalamus + wernicke]
        torch.addmm(context_BN, self.rates["thalamus"][t + 1], w.thalamus.t(), out=self.current["wernicke"][t])
        self.fire("wernicke", t)

    def integrate(self, t: int) -> None:
        w, sizes, keys = self.weights, self.plan.sizes, self.key.shape[2]
        cortex, feedback = sizes["prefrontal"], sizes["thalamus"] + sizes["wernicke"]
        seen_BM = self.rates["wernicke"][t + 1] @ w.wernicke.t()
        self.key_raw[t], self.value[t] = seen_BM[:, 2 * cortex : 2 * cortex + keys], seen_BM[:, 2 * cortex + keys :]
        u, mean, rate = torch.native_layer_norm(self.key_raw[t], (keys,), w.key_gain, w.key_bias, EPSILON)
        torch.sub(u, THRESHOLD, out=self.key_distance[t])
        self.key_moments[t, 0], self.key_moments[t, 1] = mean, rate
        fired = (self.key_distance[t] > 0).float()
        torch.mul(fired, (fired.sum(1, keepdim=True) + 1).rsqrt(), out=self.key[t + 1])
        recall.forward_into(self.recall_inputs(t), self.memory[t + 1], self.current["hippocampus"][t])
        self.fire("hippocampus", t)
        whole_BM = seen_BM[:, : 2 * cortex] + self.back_BM[:, feedback:]
        whole_BM.addmm_(self.rates["hippocampus"][t + 1], w.hippocampus.t())
        self.current["prefrontal"][t], self.gate[t] = whole_BM[:, :cortex], whole_BM[:, cortex:]
        logit, mean, rate = torch.native_layer_norm(self.gate[t], (cortex,), w.gate_gain, w.gate_bias, EPSILON)
        self.gate_moments[t, 0], self.gate_moments[t, 1] = mean, rate
        decay = torch.sigmoid(logit, out=self.row_decay[t])
        torch.sqrt(SLACK - decay * decay, out=self.row_charge[t])
        self.fire("prefrontal", t)

    def recall_inputs(self, t: int) -> tuple[Tensor, ...]:
        return self.memory[t], self.key[t], self.key[t + 1], self.value[t], self.weights.retention, self.eta[t]

    def act(self, t: int) -> None:
        w, ganglia = self.weights, self.plan.sizes["basal_ganglia"]
        plan_BM = self.rates["prefrontal"][t + 1] @ w.prefrontal.t()
        self.current["basal_ganglia"][t], self.current["broca"][t] = plan_BM[:, :ganglia], plan_BM[:, ganglia:]
        self.fire("basal_ganglia", t)
        go = torch.sigmoid(self.rates["basal_ganglia"][t + 1] @ w.basal_ganglia.t() - 1)
        torch.mul(go, 2, out=self.go[t])
        torch.mul(self.modulation["broca"][t], self.go[t], out=self.opened[t])
        self.fire("broca", t)

    def phase_inputs(self, name: str, t: int) -> tuple[Tensor, ...]:
        modulation = self.opened[t] if name == "broca" else self.modulation[name][t]
        by_row = name == "prefrontal"
        pace = (self.row_decay[t], self.row_charge[t]) if by_row else (self.decay[name], self.charge[name])
        return self.current[name][t], self.gain[name], self.bias[name], modulation, *pace, self.voltage[name][t], self.adaptation[name][t]

    def fire(self, name: str, t: int) -> None:
        outputs = (self.rates[name][t + 1], self.voltage[name][t + 1], self.adaptation[name][t + 1])
        phase.forward_into(self.phase_inputs(name, t), self.plan.steps[name], RHO, BETA, HEIGHT, outputs)


class WindowRun(torch.autograd.Function):
    """Rates of each module [T, B, N] of a plan's window; the window itself is left in `plan_and_window[1]`."""

    @staticmethod
    def forward(ctx: Any, holder: list[Any], *weights: Tensor) -> tuple[Tensor, ...]:
        window = Window(holder[0], Weights(*weights))
        window.run()
        holder.append(window)
        ctx.window = window
        ctx.set_materialize_grads(False)
        return tuple(rates[1:] for rates in window.rates.values())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, *Backward(ctx.window, dict(zip(MODULES, gradients, strict=True))).run()
