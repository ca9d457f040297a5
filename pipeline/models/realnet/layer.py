"""The layer of neurons that RealNet's models of the pipeline have in common: the network of `network`, run over frames of input.

h' = gain RMSNorm(dropout(act(M h + b + I))). M, with a row for each neuron that it leads to, is the weight of a linear layer, so that it is
quantized like any other matrix. Input reaches the first neurons.
Shapes: B rows, S frames, I input neurons, N neurons, C collected states.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import rng
from pipeline.models.base import Grown, Model, runs_fused, spread
from pipeline.models.realnet.weights import fresh
from pipeline.ops import recurrent_run
from pipeline.ops.reference_recurrent import ACTIVATIONS, EPSILON

NOISE = 1e-2
"""Deviation of a new neuron's outgoing weights."""
SILENCE = {"sigmoid": -20.0}
"""Bias that keeps a new neuron at zero, for activations that are not zero at zero."""


class State(NamedTuple):
    """What the neurons show, [B, N]."""

    neurons: Tensor


class Layer(Model):
    """A model whose memory is such a layer; `steps` of it belong to each frame. A subclass calls `connect` in its constructor."""

    recurrent = True
    places: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)
        self.neurons, self.steps = int(config["num_neurons"]), int(config["think_steps"]) + 1
        self.activation, self.dropout = config["activation"], float(config["quintet"]["dropout"])

    def connect(self, inputs: int) -> None:
        """Make the layer, which so many of its neurons bring input to."""
        self.inputs = inputs
        self.synapses = nn.Linear(self.neurons, self.neurons)
        self.gain = nn.Parameter(torch.ones(self.neurons))
        self.register_buffer("places", torch.arange(inputs), persistent=False)

    def insert(self, at: int, amount: int, generator: torch.Generator) -> Grown:
        """Add `amount` silent neurons before the neuron `at`: `apps.realnet.neurogenesis.expand` with an epsilon that stays.

        They have no incoming weights and random outgoing ones, through which the incoming learn; the gain takes up the factor that they
        bring into RMSNorm's mean.
        """
        old, new = self.neurons, self.neurons + amount
        kept, added = torch.cat([torch.arange(at), torch.arange(at, old) + amount]), torch.arange(at, at + amount)
        with torch.no_grad():
            weight = spread(self.synapses.weight, (kept, kept), (new, new))
            weight[kept[:, None], added] = (NOISE * torch.randn(old, amount, generator=generator)).to(weight)
            bias, gain = (spread(vector, (kept,), (new,)) for vector in (self.synapses.bias, self.gain))
            bias[added], gain[added] = SILENCE.get(self.activation, 0.0), 1.0
            gain *= (old / new) ** 0.5
        self.synapses.weight, self.synapses.bias, self.gain = nn.Parameter(weight), nn.Parameter(bias), nn.Parameter(gain)
        self.synapses.in_features = self.synapses.out_features = self.neurons = self.config["num_neurons"] = new
        return Grown({"synapses.weight": (kept, kept), "synapses.bias": (kept,), "gain": (kept,)}, kept, new)

    def initial_state(self, batch_size: int, length: int | None = None) -> State:
        """Silence, in the weights' type and on their device."""
        return State(self.gain.new_zeros(batch_size, self.neurons))

    def run(self, drive_BSI: Tensor, h_BN: Tensor, collect: int) -> tuple[Tensor, Tensor]:
        """The last state [B, N], and every `collect`-th [B, C, N]."""
        if not runs_fused(self.synapses):
            return self.step_by_step(drive_BSI, h_BN, self.steps, collect)
        dropout = self.dropout if self.training else 0.0
        return recurrent_run(
            drive_BSI,
            self.synapses.weight.T,
            self.synapses.bias,
            self.gain,
            steps=self.steps * drive_BSI.shape[1],
            state=h_BN,
            places=self.places,
            every=self.steps,
            collect=collect,
            activation=self.activation,
            dropout=dropout,
            seed=torch.randint(2**62, ()) if dropout else 0,
        )

    def step_by_step(self, drive_BSI: Tensor, h_BN: Tensor, steps: int, collect: int) -> tuple[Tensor, Tensor]:
        """The same, `steps` for a frame, by the layer `synapses`, whatever it is."""
        states, done = [], 0
        for drive_BI in F.pad(drive_BSI, (0, self.neurons - self.inputs)).unbind(1):
            for step in range(steps):
                pulse = self.synapses(h_BN) if step else self.synapses(h_BN) + drive_BI
                fired = F.dropout(ACTIVATIONS[self.activation](pulse), self.dropout, self.training)
                h_BN = F.rms_norm(fired, (self.neurons,), self.gain, EPSILON)
                done += 1
                if done % collect == 0:
                    states.append(h_BN)
        return h_BN, torch.stack(states, 1)


@torch.no_grad()
def initialize(layer: Layer, seed: int) -> None:
    """The synapses by their initialiser, from a random stream of their own, no bias, and a gain of 1."""
    rng.seed_global(seed, "initialize", "synapses")
    layer.synapses.weight.copy_(fresh(layer.config["quintet"]["weight_init"], layer.neurons))
    layer.synapses.bias.zero_()
    layer.gain.fill_(1.0)
