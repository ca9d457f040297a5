"""The backward pass of a `window.Window`: its steps mirrored, last to first. A name that begins with `to_` is a gradient's."""

import math
from typing import Any

import torch
from torch import Tensor

from pipeline.models.neurogen.neurons import BETA, HEIGHT, RHO
from pipeline.ops import phase, recall


class Backward:
    """`rates`: the gradients of each module's rates [T, B, N], or None."""

    def __init__(self, window: Any, rates: dict[str, Tensor | None]) -> None:
        self.window, self.weights, sizes = window, window.weights, window.plan.sizes
        self.to_rates = {n: torch.zeros_like(window.current[n]) if g is None else g.contiguous() for n, g in rates.items()}
        self.to_current = {name: window.buffer(size) for name, size in sizes.items()}
        self.to_modulation = {name: window.buffer(size) for name, size in sizes.items()}
        self.to_voltage = {name: torch.zeros(window.batch, size) for name, size in sizes.items()}
        self.to_vectors = {name: torch.empty(4, window.length, 1, size) for name, size in sizes.items()}
        self.cortex, self.ganglia, self.keys = sizes["prefrontal"], sizes["basal_ganglia"], window.key.shape[2]
        self.to_back = window.buffer(len(self.weights.feedback))
        self.to_seen = window.buffer(len(self.weights.wernicke))
        self.to_plan = window.buffer(len(self.weights.prefrontal))
        self.to_go = window.buffer(sizes["broca"])
        self.to_cortex = torch.zeros(window.batch, self.cortex)
        self.to_memory, self.to_key = torch.zeros_like(window.memory[0]), torch.zeros_like(window.key[0])
        self.to_retention, self.to_eta = torch.zeros(self.keys), window.buffer()
        self.to_pace = [torch.empty(window.batch, self.cortex) for _ in range(2)]
        self.to_norms = [torch.zeros_like(x) for x in (self.weights.gate_gain, self.weights.gate_bias)]
        self.to_key_norms = [torch.zeros_like(x) for x in (self.weights.key_gain, self.weights.key_bias)]

    def run(self) -> tuple[Tensor, ...]:
        """The gradients of `window.Weights`."""
        for t in reversed(range(self.window.length)):
            self.act(t)
            self.integrate(t)
            self.perceive(t)
        return self.gathered()

    def fire(self, name: str, t: int, to_rate: Tensor) -> Tensor:
        """The gradient of a module's current [B, N]."""
        to, vectors = self.to_voltage[name], self.to_vectors[name][:, t]
        pace = self.to_pace if name == "prefrontal" else (vectors[2], vectors[3])
        gradients = (self.to_current[name][t], vectors[0, 0], vectors[1, 0], self.to_modulation[name][t], *pace, to)
        phase.backward_into(self.window.phase_inputs(name, t), self.window.plan.steps[name], RHO, BETA, HEIGHT, to_rate, to, gradients)
        return self.to_current[name][t]

    def act(self, t: int) -> None:
        window, w = self.window, self.weights
        self.to_plan[t][:, self.ganglia :] = self.fire("broca", t, self.to_rates["broca"][t])
        opened, go = self.to_modulation["broca"][t], window.go[t]
        torch.mul(opened * window.modulation["broca"][t], go - 0.5 * go * go, out=self.to_go[t])
        opened.mul_(go)
        to_rate = torch.addmm(self.to_rates["basal_ganglia"][t], self.to_go[t], w.basal_ganglia)
        self.to_plan[t][:, : self.ganglia] = self.fire("basal_ganglia", t, to_rate)
        self.to_cortex.add_(self.to_rates["prefrontal"][t]).addmm_(self.to_plan[t], w.prefrontal)

    def integrate(self, t: int) -> None:
        window, w, cortex, keys = self.window, self.weights, self.cortex, self.keys
        to_in = self.to_seen[t][:, : 2 * cortex]
        to_in[:, :cortex] = self.fire("prefrontal", t, self.to_cortex)
        decay, charge = window.row_decay[t], window.row_charge[t]
        to_logit = (self.to_pace[0] - self.to_pace[1] * decay / charge) * (decay - decay * decay)
        to_in[:, cortex:] = norm_backward(to_logit, window.gate[t], window.gate_moments[t], (w.gate_gain, w.gate_bias), self.to_norms)
        to_rate = torch.addmm(self.to_rates["hippocampus"][t], to_in, w.hippocampus)
        to_recalled = self.fire("hippocampus", t, to_rate)
        to_before, to_key, to_value = (torch.empty_like(x) for x in (window.key[t], window.key[t], window.value[t]))
        gradients = (self.to_memory, to_before, to_key, to_value, self.to_retention, self.to_eta[t])
        recall.backward_into(window.recall_inputs(t), to_recalled, gradients)
        self.to_seen[t][:, 2 * cortex : 2 * cortex + keys] = self.key_backward(t, to_key.add_(self.to_key))
        self.to_seen[t][:, 2 * cortex + keys :] = to_value
        self.to_key = to_before

    def key_backward(self, t: int, to_key: Tensor) -> Tensor:
        """Through k = f / sqrt(sum f + 1) and the spikes f to the projection."""
        key, u, w = self.window.key[t + 1], self.window.key_distance[t], self.weights
        scale = key.amax(1, keepdim=True)  # 1 / sqrt(sum f + 1), or 0 where nothing fired, when it is 1
        scale = torch.where(scale > 0, scale, 1.0)
        to_fired = scale * to_key - 0.5 * scale.square() * (to_key * key).sum(1, keepdim=True)
        to_u = to_fired * HEIGHT / (1 + (math.pi * u).square())
        moments = self.window.key_moments[t]
        return norm_backward(to_u, self.window.key_raw[t], moments, (w.key_gain, w.key_bias), self.to_key_norms)

    def perceive(self, t: int) -> None:
        w, sizes = self.weights, self.window.plan.sizes
        thalamus, feedback = sizes["thalamus"], sizes["thalamus"] + sizes["wernicke"]
        to_percept = self.fire("wernicke", t, torch.addmm(self.to_rates["wernicke"][t], self.to_seen[t], w.wernicke))
        to_drive = self.fire("thalamus", t, torch.addmm(self.to_rates["thalamus"][t], to_percept, w.thalamus))
        back = self.to_back[t]
        torch.neg(to_drive, out=back[:, :thalamus])
        back[:, thalamus:feedback], back[:, feedback:] = to_percept, self.to_seen[t][:, : 2 * self.cortex]
        torch.mm(back, w.feedback, out=self.to_cortex)

    def gathered(self) -> tuple[Tensor, ...]:
        """Of weights over all tokens, in the order of `window.Weights`."""
        window, rates = self.window, self.window.rates
        to_in = self.to_seen[:, :, : 2 * self.cortex]
        uses = (
            (self.to_back, rates["prefrontal"][:-1]),
            (self.to_current["wernicke"], rates["thalamus"][1:]),
            (self.to_seen, rates["wernicke"][1:]),
            (to_in, rates["hippocampus"][1:]),
            (self.to_plan, rates["prefrontal"][1:]),
            (self.to_go, rates["basal_ganglia"][1:]),
        )
        matrices = [to.flatten(0, 1).t() @ x.flatten(0, 1) for to, x in uses]
        self.to_vectors["prefrontal"][2:] = 0
        vectors = torch.cat([vectors.sum((1, 2)) for vectors in self.to_vectors.values()], 1)
        levels_2S = window.levels[1:, :, :2].flatten(0, 1).t()
        sensitivity = torch.cat([levels_2S @ to.flatten(0, 1) for to in self.to_modulation.values()], 1)
        to_z = (self.to_eta * (window.eta - window.eta.square())).flatten()
        plasticity = torch.cat((to_z.sum()[None], levels_2S @ to_z))
        norms = (*self.to_norms, *self.to_key_norms)
        return self.to_current["thalamus"], *matrices, *vectors, sensitivity, *norms, self.to_retention, plasticity


def norm_backward(to: Tensor, x: Tensor, moments_2B1: Tensor, affine: tuple[Tensor, Tensor], sums: list[Tensor]) -> Tensor:
    """Through a LayerNorm; the gradients of its gain and bias are added to `sums`."""
    to_x, *to_affine = torch.ops.aten.native_layer_norm_backward(to, x, x.shape[1:], *moments_2B1, *affine, [True] * 3)
    for total, part in zip(sums, to_affine, strict=True):
        total.add_(part)
    return to_x  # type: ignore[no-any-return]
