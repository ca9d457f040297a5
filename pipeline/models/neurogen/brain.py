"""NeuroGen: a language model of six spiking modules, ten connections, and a cycle of five phases for each token.

    sensation    thalamus: the token's embedding less what the prefrontal cortex expected
    perception   Wernicke: the thalamus, under the prefrontal cortex' context
    integration  hippocampus: what its memory recalls for Wernicke's pattern; prefrontal cortex: Wernicke, hippocampus and itself, with
                 gated decays (slow ones are the working memory)
    selection    basal ganglia: of the prefrontal cortex, how far each of Broca's neurons may go
    action       Broca: the prefrontal cortex under that gate; the logits of the next token are a projection of its spikes

Feedback from the prefrontal cortex is of the last token. Shapes: B streams, T tokens, V vocabulary, N neurons of a module or of all.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.base import Model, runs_fused
from pipeline.models.neurogen import anatomy, learning, modulators, window
from pipeline.models.neurogen.lesions import Lesions
from pipeline.models.neurogen.memory import Memory
from pipeline.models.neurogen.neurons import Neurons, pace
from pipeline.models.neurogen.wiring import Wiring


class State(NamedTuple):
    """All that a brain knows of the past; the first axis is the stream. N is all modules side by side, as `anatomy.MODULES` has them."""

    voltage: Tensor
    """[B, N], after the reset."""
    adaptation: Tensor
    """[B, N]."""
    rates: Tensor
    """[B, N]: each neuron's mean spikes over its phase of the last token."""
    memory: Tensor
    """[B, K, H]: the hippocampus' fast weights."""
    key: Tensor
    """[B, K]: what the next value will be kept under."""
    modulators: Tensor
    """[B, 3]: dopamine, serotonin, and the loss they are measured from."""


Rates = Tensor | list[Tensor]
"""A module's rates [B, T, N], or those of each token [B, N]: putting those of a large brain together takes its time."""


class Recording(NamedTuple):
    """What happened at each token: `rates` of every neuron [B, T, N], `modulators` [B, T, 3]."""

    rates: Tensor
    modulators: Tensor


class Brain(Model):
    """The family's module: see `pipeline.models` for the protocol that all families share.

    `lesions` silences modules and connections; with `record`, `recording` shows what the last call's neurons did.
    """

    recurrent = True

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config, self.context = dict(config), int(config["context"])
        self.sizes, steps = anatomy.sizes(config), anatomy.steps(config)
        self.embed_tokens = nn.Embedding(config["vocab_size"], self.sizes["thalamus"])
        self.wiring = Wiring(config)
        self.neurons = nn.ModuleDict({name: Neurons(size, steps[name], self._decay(name)) for name, size in self.sizes.items()})
        self.gate = nn.LayerNorm(self.sizes["prefrontal"])
        self.memory = Memory(config["key_size"])
        self.lm_head = nn.Linear(self.sizes["broca"], config["vocab_size"])
        self.lesions = Lesions()
        self.penalty: Tensor | None = None
        """What training adds to the loss to keep the firing rates in their band."""
        self.recording: Recording | None = None
        """Of the last call, where `record` is set."""
        self.record = False
        self.seen: tuple[Tensor, Tensor] | None = None
        """Mean rates [N] and modulators [B, T, 3] of the last call in training mode."""

    def _decay(self, name: str) -> Tensor | None:
        return None if name == "prefrontal" else torch.full((self.sizes[name],), anatomy.FIRST_DECAY[name])

    def initial_state(self, batch_size: int, length: int | None = None) -> State:
        """The state of a brain at rest."""
        like, neurons, keys = self.lm_head.bias, sum(self.sizes.values()), self.memory.keys
        voltage, adaptation, rates = (like.new_zeros(batch_size, neurons) for _ in range(3))
        memory = like.new_zeros(batch_size, keys, self.sizes["hippocampus"])
        levels = modulators.initial(batch_size, self.config["vocab_size"], like)
        return State(voltage, adaptation, rates, memory, like.new_zeros(batch_size, keys), levels)

    def forward(self, tokens_BT: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits [B, T, V] of each next token, and the state after the last."""
        state = self.initial_state(len(tokens_BT)) if state is None else state
        run = self._online if self._learns_online() else self._by_window if self._can_by_window(tokens_BT) else self._by_token
        rates: Mapping[str, Rates]
        rates, levels_BT3, state = run(tokens_BT, state)
        if self.training:
            means = {name: mean_of(each) for name, each in rates.items()}
            self.penalty = rate_penalty(means) * self.config["rate_penalty"]
            self.seen = torch.cat(list(means.values())).detach(), levels_BT3.detach()
        else:
            self.penalty = None
        if self.record:
            self.recording = Recording(torch.cat([together(each) for each in rates.values()], -1), levels_BT3)
        return self.lm_head(together(rates["broca"])), state

    def statistics(self) -> dict[str, float]:
        """Mean spikes an internal step of each module, spikes a token in each phase, and the neuromodulators' means."""
        if self.seen is None:
            return {}
        rates_N, levels_BT3 = self.seen
        means = {n: each.double().mean().item() for n, each in zip(self.sizes, rates_N.split(list(self.sizes.values())), strict=True)}
        spikes = {name: rate * self.sizes[name] * self._neurons(name).steps for name, rate in means.items()}
        phases = {phase: sum(spikes[name] for name in names) for phase, names in anatomy.PHASES.items()}
        levels = dict(zip(modulators.MODULATORS, levels_BT3.double().mean((0, 1)).tolist(), strict=True))
        return {f"rate_{n}": r for n, r in means.items()} | {f"spikes_{p}": s for p, s in phases.items()} | levels

    def cycle(self, state: State) -> "Cycle":
        """This brain in this state, to be given tokens one by one."""
        return Cycle(self, state)

    def by_cycle(self, tokens_BT: Tensor, state: State) -> tuple[dict[str, Tensor], Tensor, State]:
        """Rates of each module [B, T, N], modulators [B, T, 3], and the state after the last token: the definition."""
        rates, levels_BT3, state = self._by_token(tokens_BT, state)
        return {name: together(each) for name, each in rates.items()}, levels_BT3, state

    def _by_token(self, tokens_BT: Tensor, state: State) -> tuple[dict[str, list[Tensor]], Tensor, State]:
        """The same with the rates as they come."""
        cycle = self.cycle(state)
        for token_B, drive_BN in zip(tokens_BT.unbind(1), self.embed_tokens(tokens_BT).unbind(1), strict=True):
            cycle.token(token_B, drive_BN)
        return cycle.rates, torch.stack(cycle.modulation, 1), cycle.state()

    def _learns_online(self) -> bool:
        """Whether a rule of `learning` takes the place of backpropagation; training at few levels is always by backpropagation."""
        plain = all(isinstance(linear.weight, nn.Parameter) for linear in self.wiring.values())
        return self.config["learning"] != "bptt" and self.training and torch.is_grad_enabled() and plain

    def _online(self, tokens_BT: Tensor, state: State) -> tuple[dict[str, Tensor], Tensor, State]:
        holder: list[Any] = [self, tokens_BT, state]
        parameters = [parameter for name, parameter in self.named_parameters() if not name.startswith("lm_head.")]
        rates = learning.OnlineRun.apply(holder, *parameters)
        return dict(zip(anatomy.MODULES, rates, strict=True)), *holder

    def _can_by_window(self, tokens_BT: Tensor) -> bool:
        """Whether `window` computes what is asked for: several tokens on a CPU, with nothing in the way."""
        plain = not (self.memory.smooth or self.lesions.any())
        layers = (self.lm_head, *self.wiring.values())
        return plain and tokens_BT.shape[1] > 1 and self.lm_head.bias.is_cpu and all(runs_fused(each) for each in layers)

    def _by_window(self, tokens_BT: Tensor, state: State) -> tuple[dict[str, Tensor], Tensor, State]:
        weights = window.Weights(self.embed_tokens(tokens_BT.t()), *self.wiring.bundles().values(), **self._vectors())
        head = (self.lm_head.weight.detach(), self.lm_head.bias.detach())
        steps = {name: self._neurons(name).steps for name in self.sizes}
        holder: list[Any] = [window.Plan(self.sizes, steps, tokens_BT.t(), head, state)]
        rates = [each.transpose(0, 1) for each in window.WindowRun.apply(holder, *weights)]
        done: window.Window = holder[1]
        levels_BT3 = done.kept["levels"][1:].transpose(0, 1)
        return dict(zip(anatomy.MODULES, rates, strict=True)), levels_BT3, State(*done.end())

    def _vectors(self) -> dict[str, Tensor]:
        cells = [self._neurons(name) for name in self.sizes]
        paces = [n.constants() if n.decay is not None else (torch.zeros(1, n.size),) * 2 for n in cells]
        decay, charge = (torch.cat(part, 1)[0] for part in zip(*paces, strict=True))
        return {
            "gain": torch.cat([n.gain for n in cells]),
            "bias": torch.cat([n.bias for n in cells]),
            "decay": decay,
            "charge": charge,
            "sensitivity": self.sensitivity(),
            "gate_gain": self.gate.weight,
            "gate_bias": self.gate.bias,
            "key_gain": self.memory.gain,
            "key_bias": self.memory.bias,
            "retention": self.memory.retention.sigmoid(),
            "plasticity": self.memory.plasticity,
        }

    def sensitivity(self) -> Tensor:
        """Of every neuron to dopamine and serotonin [2, N]."""
        cells = [self._neurons(name) for name in self.sizes]
        return torch.stack((torch.cat([n.dopamine for n in cells]), torch.cat([n.serotonin for n in cells])))

    def _neurons(self, name: str) -> Neurons:
        neurons: Any = self.neurons[name]
        return neurons  # type: ignore[no-any-return]


class Cycle:
    """A brain at work on the tokens of a window: the state of each module while it runs."""

    def __init__(self, brain: Brain, state: State) -> None:
        self.brain, self.lesions = brain, brain.lesions
        sizes = list(brain.sizes.values())

        def parts(x_BN: Tensor) -> dict[str, Tensor]:
            return dict(zip(anatomy.MODULES, x_BN.split(sizes, 1), strict=True))

        self.cells = {name: (w, s) for (name, w), s in zip(parts(state.voltage).items(), parts(state.adaptation).values(), strict=True)}
        self.now = parts(state.rates)
        self.memory, self.key, self.modulators = state.memory, state.key, state.modulators
        sparse = brain.wiring.fan_in is not None and brain.training and torch.is_grad_enabled() and not brain.memory.smooth
        self.recollection = brain.memory.window(state.memory, state.key) if sparse else None
        self.rates: dict[str, list[Tensor]] = {name: [] for name in anatomy.MODULES}
        self.modulation: list[Tensor] = []
        self.inputs: dict[str, tuple[Tensor, Tensor, tuple[Tensor, Tensor]]] = {}
        """Of each module in its last phase: current, modulation, and pace."""
        cells: Any = brain.neurons
        self.sensitivity = {name: torch.stack((n.dopamine, n.serotonin)) for name, n in cells.items()}
        self.ones = {name: torch.ones_like(each[:1]) for name, each in self.sensitivity.items()}
        self.paces = {name: n.constants() for name, n in cells.items() if n.decay is not None}
        self.carriers = brain.wiring.carriers()
        self.noise: Callable[[str, Tensor], Tensor] | None = None
        """What changes a module's current before it fires, if anything does."""

    def token(self, token_B: Tensor, drive_BN: Tensor) -> None:
        """One token's cycle of five phases."""
        smooth, self.before, self.voltage_before = self.brain.memory.smooth, dict(self.now), self.cells["prefrontal"][0]
        with contextlib.nullcontext() if smooth else torch.no_grad():
            prediction_BV = self.brain.lm_head(self.now["broca"])
            self.modulators = modulators.update(self.modulators, prediction_BV, token_B)
        self.modulation.append(self.modulators)
        levels_B2 = self.modulators[:, :2]
        gains = {name: torch.addmm(ones, levels_B2, self.sensitivity[name]) for name, ones in self.ones.items()}
        back = self.project("feedback", self.now["prefrontal"])
        self.fire("thalamus", drive_BN - back["thalamus"], gains["thalamus"])
        percept = self.project("thalamus", self.now["thalamus"])["wernicke"]
        self.fire("wernicke", percept + back["wernicke"], gains["wernicke"])
        seen = self.project("wernicke", self.now["wernicke"])
        self.fire("hippocampus", self.recall(seen["hippocampus"], levels_B2), gains["hippocampus"])
        related = self.project("hippocampus", self.now["hippocampus"])["prefrontal"]
        current_BN, self.gate_BN = (x.contiguous() for x in (seen["prefrontal"] + related + back["prefrontal"]).chunk(2, 1))
        self.fire("prefrontal", current_BN, gains["prefrontal"], pace(self.brain.gate(self.gate_BN)))
        plan = self.project("prefrontal", self.now["prefrontal"])
        self.fire("basal_ganglia", plan["basal_ganglia"], gains["basal_ganglia"])
        go_BN = 2 * torch.sigmoid(self.project("basal_ganglia", self.now["basal_ganglia"])["broca"] - 1)
        self.fire("broca", plan["broca"], gains["broca"] * go_BN)

    def project(self, bundle: str, x_BK: Tensor) -> dict[str, Tensor]:
        return self.brain.wiring.project(bundle, x_BK, self.lesions, self.carriers)

    def recall(self, seen_BS: Tensor, levels_B2: Tensor) -> Tensor:
        """What the hippocampus' memory has for Wernicke's pattern [B, N]."""
        if self.recollection is not None:
            return self.recollection.token(seen_BS, levels_B2)
        recalled_BN, self.memory, self.key = self.brain.memory(seen_BS, levels_B2, self.memory, self.key)
        return recalled_BN

    def fire(self, name: str, current_BN: Tensor, gain_BN: Tensor, rhythm: tuple[Tensor, Tensor] | None = None) -> None:
        """A module's phase at this current."""
        current_BN = self.noise(name, current_BN) if self.noise else current_BN
        self.inputs[name] = (current_BN, gain_BN, rhythm or self.paces[name])
        rate, *cells = self.brain.neurons[name](*self.inputs[name], self.cells[name])
        self.cells[name] = (cells[0], cells[1])
        self.now[name] = rate = self.lesions.of_module(name, rate)
        self.rates[name].append(rate)

    def state(self) -> State:
        """After the last token."""
        voltage, adaptation = (torch.cat(part, 1) for part in zip(*self.cells.values(), strict=True))
        if self.recollection is not None:
            with torch.no_grad():
                self.memory, self.key = self.recollection.written(), self.recollection.key_BK
        return State(voltage, adaptation, torch.cat(list(self.now.values()), 1), self.memory, self.key, self.modulators)


def together(rates: Rates) -> Tensor:
    """[B, T, N]."""
    return torch.stack(rates, 1) if isinstance(rates, list) else rates


def mean_of(rates: Rates) -> Tensor:
    """Over streams and tokens [N]."""
    if not isinstance(rates, list):
        return rates.mean((0, 1))
    return torch.stack([each.sum(0) for each in rates]).sum(0) / (len(rates) * len(rates[0]))


BAND = (0.01, 0.15)
"""Mean spikes an internal step that each neuron should keep to."""
MOST = 0.12
"""And the mean over a module."""


def rate_penalty(means: Mapping[str, Tensor]) -> Tensor:
    """Sum over modules of 10 mean relu(r - 0.15)^2 + mean relu(0.01 - r) + 10 relu(mean r - 0.12)^2, r [N] the neurons' mean rates."""
    total = torch.zeros((), device=next(iter(means.values())).device)
    for r in means.values():
        total = total + 10 * F.relu(r - BAND[1]).square().mean() + F.relu(BAND[0] - r).mean() + 10 * F.relu(r.mean() - MOST).square()
    return total
