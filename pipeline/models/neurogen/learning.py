"""Two rules that learn online, in memory that does not grow with the number of tokens: e-prop, and reward-modulated plasticity.

Both walk through the window a second time, token by token, and add to the gradient of each weight what the token says:

    e-prop (Bellec et al. 2020): the gradient within the token's cycle, and, for what a neuron's voltage still has of earlier tokens, its
    gradient times an eligibility trace of each synapse, e_ji <- (dv_j'/dv_j) e_ji + (dv_j/dW_ji). What travels on through other neurons'
    spikes and through the hippocampus' memory is left out.
    three-factor (node perturbation: Fiete and Seung 2006): while a token's cycle runs, twins of each stream run it with noise in their
    neurons' currents, in pairs of opposite noise. The reward is minus the loss of the token that comes, and what tells of it is dopamine
    (`modulators`), which falls where the reward is more than expected. Source's rate times target's noise times how far the twin's dopamine
    lies below its pair's mean, in which everything that makes a token hard cancels, is what moves a synapse, in the mean over twins and
    streams: downhill in the cycle's own dopamine, but known from one number a twin. Of the ten connections the eight learn so that are
    currents; the read-out has its exact gradient, and nothing else learns.

Shapes: B streams, T tokens, M neurons of a connection's target (rows of its matrix), K of its source.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.models.neurogen import modulators
from pipeline.models.neurogen.anatomy import CONNECTIONS, MODULES, Connection
from pipeline.models.neurogen.wiring import bundle_of
from pipeline.ops.reference_phase import EPSILON

RULES = ("bptt", "eprop", "three_factor")

DIRECT = tuple(c for c in CONNECTIONS if c.target != "hippocampus" and c.source != "basal_ganglia")
"""Connections that are currents of their target; the others address the memory, or gate."""
PAIRS, NOISE = 4, 0.3
"""Pairs of twins of each stream in the three-factor rule, and their noise as a share of the deviation of a module's currents."""


class OnlineRun(torch.autograd.Function):
    """Rates of each module [B, T, N]; `holder` is the brain, the tokens and the state, and gets the modulators and the state after them."""

    @staticmethod
    def forward(ctx: Any, holder: list[Any], *parameters: Tensor) -> tuple[Tensor, ...]:
        brain, tokens_BT, state = holder
        rates, levels_BT3, end = brain.by_cycle(tokens_BT, state)
        holder[:] = levels_BT3, end
        ctx.brain, ctx.tokens, ctx.state, ctx.parameters = brain, tokens_BT, state, parameters
        return tuple(rates.values())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rule: Any = {"eprop": eprop, "three_factor": three_factor}[ctx.brain.config["learning"]]
        return None, *rule(ctx.brain, ctx.tokens, ctx.state, ctx.parameters, gradients)


def eprop(brain: Any, tokens_BT: Tensor, state: Any, parameters: tuple[Tensor, ...], gradients: tuple[Tensor, ...]) -> list[Tensor]:
    """The gradients of the parameters, from those of the rates [B, T, N]."""
    rule = Eprop(brain, state, parameters)
    for t, token_B in enumerate(tokens_BT.unbind(1)):
        rule.token(token_B, partial(_given, [each[:, t] for each in gradients]))
    return rule.gradients()


def _given(gradients: list[Tensor], _rates: list[Tensor]) -> list[Tensor]:
    return gradients


def learn_online(brain: Any, tokens_BT: Tensor, targets_BT: Tensor, state: Any) -> tuple[float, Any]:
    """Add e-prop's gradient of the mean loss to the parameters' `grad`; that loss, and the state after the last token.

    Nothing is kept of a token once the next has come, so that memory is the same for any number of them.
    """
    parameters = tuple(parameter for name, parameter in brain.named_parameters() if not name.startswith("lm_head."))
    rule, total = Eprop(brain, state, parameters), 0.0
    for token_B, target_B in zip(tokens_BT.unbind(1), targets_BT.unbind(1), strict=True):

        def wanted(rates: list[Tensor], target_B: Tensor = target_B) -> list[Tensor]:
            nonlocal total
            spoken = rates[-1].detach().requires_grad_()
            loss = F.cross_entropy(brain.lm_head(spoken), target_B, reduction="sum") / targets_BT.numel()
            loss.backward()
            total += loss.item()
            assert spoken.grad is not None
            return [*(torch.zeros_like(rate) for rate in rates[:-1]), spoken.grad]

        rule.token(token_B, wanted)
    for parameter, gradient in zip(parameters, rule.gradients(), strict=True):
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    return total, rule.state


class Eprop:
    """The rule token by token, from a state on; what it holds does not grow with their number."""

    def __init__(self, brain: Any, state: Any, parameters: tuple[Tensor, ...]) -> None:
        self.brain, self.state, self.parameters = brain, state, parameters
        self.totals = [torch.zeros_like(parameter) for parameter in parameters]
        self.places = {id(parameter): i for i, parameter in enumerate(parameters)}
        self.traces = {c: state.voltage.new_zeros(len(state.voltage), *brain.wiring[c.name].weight.shape) for c in DIRECT}

    def token(self, token_B: Tensor, wanted: Callable[[list[Tensor]], list[Tensor]]) -> None:
        """One token; `wanted` says the gradients of the modules' rates [B, N] from these rates."""
        brain, sizes = self.brain, list(self.brain.sizes.values())
        with torch.enable_grad():
            voltage = self.state.voltage.detach().requires_grad_()
            cycle = brain.cycle(self.state._replace(voltage=voltage))
            cycle.token(token_B, brain.embed_tokens(token_B))
            outputs = [cycle.now[name] for name in MODULES]
            now = torch.autograd.grad(outputs, (*self.parameters, voltage), wanted(outputs), retain_graph=True, allow_unused=True)
            keeps = dict(zip(MODULES, _keeps(cycle, voltage).split(sizes, 1), strict=True))
        signals = dict(zip(MODULES, now[-1].split(sizes, 1), strict=True))
        for total, part in zip(self.totals, now[:-1], strict=True):
            total += 0 if part is None else part
        for c, trace_BMK in self.traces.items():
            folds = len(trace_BMK[0]) // brain.sizes[c.target]
            signal_BM, keep_BM = (x[c.target].repeat(1, folds) for x in (signals, keeps))
            self.totals[self.places[id(brain.wiring[c.name].weight)]] += torch.einsum("bm,bmk->mk", signal_BM, trace_BMK)
            trace_BMK.mul_(keep_BM[:, :, None]).add_(_slopes(cycle, c)[:, :, None] * brain.wiring.presynaptic(c, _source(cycle, c)))
        self.state = type(self.state)(*(part.detach() for part in cycle.state()))

    def gradients(self) -> list[Tensor]:
        """Of the parameters, over all tokens."""
        return self.totals

    def size(self) -> int:
        """Bytes that are held between two tokens."""
        return sum(x.nbytes for x in (*self.totals, *self.traces.values(), *self.state))


def _keeps(cycle: Any, voltage_BN: Tensor) -> Tensor:
    """dv'/dv of each neuron over its phase [B, N]: no voltage depends on another's but through spikes, which are held."""
    parts = []
    for name in MODULES:
        _, _, (decay, _) = cycle.inputs[name]
        parts.append((decay.detach() ** cycle.brain.neurons[name].steps).expand(len(voltage_BN), -1))
    return torch.cat(parts, 1)


def _slopes(cycle: Any, connection: Connection) -> Tensor:
    """dv/dx of each neuron by its own summed input [B, M]; the part of a LayerNorm that mixes neurons is left out."""
    name = connection.target
    neurons = cycle.brain.neurons[name]
    with torch.no_grad():
        current, modulation, (decay, charge) = cycle.inputs[name]
        unit, own = _normal(current)
        total = sum(decay**k for k in range(neurons.steps))
        slope = charge * total * modulation * neurons.gain * own
        if name == "prefrontal":
            slope = torch.cat((slope, _gate_slope(cycle, unit)), 1)
        return -slope if name == "thalamus" else slope


def _gate_slope(cycle: Any, unit_BN: Tensor) -> Tensor:
    """dv/dG of the prefrontal cortex by its gates: v_K = a^K v_0 + sqrt(1 - a^2) (1 + ... + a^(K-1)) I, resets held."""
    neurons, gate = cycle.brain.neurons["prefrontal"], cycle.brain.gate
    _, modulation, (decay, charge) = cycle.inputs["prefrontal"]
    k = neurons.steps
    drive = (unit_BN * neurons.gain + neurons.bias) * modulation
    total = sum(decay**i for i in range(k))
    growth = sum(i * decay ** (i - 1) for i in range(1, k)) if k > 1 else 0.0
    by_decay = k * decay ** (k - 1) * cycle.voltage_before.detach() + drive * (charge * growth - decay / charge * total)
    _, own = _normal(cycle.gate_BN.detach())
    slope: Tensor = by_decay * (decay - decay * decay) * gate.weight * own
    return slope


def _normal(x_BN: Tensor) -> tuple[Tensor, Tensor]:
    """LayerNorm(x), and its derivative by a neuron's own x."""
    centred = x_BN - x_BN.mean(1, keepdim=True)
    rate = (centred.square().mean(1, keepdim=True) + EPSILON).rsqrt()
    unit = centred * rate
    return unit, rate * (1 - (1 + unit.square()) / x_BN.shape[1])


@torch.no_grad()
def three_factor(
    brain: Any, tokens_BT: Tensor, state: Any, parameters: tuple[Tensor, ...], gradients: tuple[Tensor, ...]
) -> list[Tensor | None]:
    """What dopamine says of the gradient of the connections' weights; of nothing else it says anything."""
    streams, copies = len(tokens_BT), 1 + 2 * PAIRS
    totals = {c: torch.zeros_like(brain.wiring[c.name].weight) for c in DIRECT}
    for token_B, next_B in zip(tokens_BT.unbind(1)[:-1], tokens_BT.unbind(1)[1:], strict=True):
        cycle = brain.cycle(type(state)(*(part.repeat(copies, *[1] * (part.dim() - 1)) for part in state)))
        cycle.noise = noise = Noise(streams)
        cycle.token(token_B.repeat(copies), brain.embed_tokens(token_B).repeat(copies, 1))
        levels_C3 = modulators.update(cycle.modulators, brain.lm_head(cycle.now["broca"]), next_B.repeat(copies))
        first_PB, second_PB = levels_C3[streams:, 0].view(2, PAIRS, streams)
        third_PB = (second_PB - first_PB) / 2
        for c, total in totals.items():
            rows = brain.sizes[c.target]
            eligible_BM = (third_PB[:, :, None] * noise.drawn[c.target]).mean(0) / noise.scale[c.target]
            sign = -1.0 if c.target == "thalamus" else 1.0
            total[:rows] -= sign / tokens_BT.numel() * brain.wiring.outer(c, eligible_BM, _source(cycle, c)[:streams])
        state = type(state)(*(part[:streams].clone() for part in cycle.state()))
    places = {id(parameter): i for i, parameter in enumerate(parameters)}
    found: list[Tensor | None] = [None] * len(parameters)
    for c, total in totals.items():
        found[places[id(brain.wiring[c.name].weight)]] = total
    return found


class Noise:
    """Added to the currents of B streams and of the pairs of twins behind them: to one of a pair what is taken from the other."""

    def __init__(self, streams: int) -> None:
        self.streams = streams
        self.drawn: dict[str, Tensor] = {}
        """[P, B, N] of each module, of unit variance."""
        self.scale: dict[str, Tensor] = {}
        """[B, 1]: what a unit of it is as a current."""

    def __call__(self, module: str, current_CN: Tensor) -> Tensor:
        scale_C1 = NOISE * current_CN.std(1, keepdim=True).clamp_min(1e-3)
        drawn = torch.randn(PAIRS, self.streams, current_CN.shape[1]).to(current_CN.device)
        self.drawn[module], self.scale[module] = drawn, scale_C1[: self.streams]
        return current_CN + scale_C1 * torch.cat((torch.zeros_like(drawn[:1]), drawn, -drawn)).flatten(0, 1)


def _source(cycle: Any, connection: Connection) -> Tensor:
    """The rates that a connection last carried [B, K]."""
    carried = cycle.before if bundle_of(connection) == "feedback" else cycle.now
    rates: Tensor = carried[connection.source].detach()
    return rates
