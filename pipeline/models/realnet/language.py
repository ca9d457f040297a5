"""RealNet as a language model: tokens enter one after another, each is thought about for some silent steps, then the next one is predicted.

The network of `network` in sequential mode, h' = gain RMSNorm(dropout(act(M h + b + I))), where I is the token's embedding at the first of
its `think_steps` + 1 steps, at the first neurons, and the prediction is read from the last neurons after the last. M, with a row for each
neuron that it leads to, is the weight of a linear layer, so that it is quantized like any other matrix.
Shapes: B sequences, T tokens, N neurons, V vocabulary.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import rng
from pipeline.models.base import Model, runs_fused
from pipeline.models.realnet.weights import fresh
from pipeline.ops import recurrent_run
from pipeline.ops.reference_recurrent import ACTIVATIONS, EPSILON


class State(NamedTuple):
    """What the neurons show, [B, N]."""

    neurons: Tensor


class RealNetLanguage(Model):
    """The family's module."""

    recurrent = True
    places: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config, self.context = dict(config), int(config["context"])
        self.neurons, self.steps = int(config["num_neurons"]), int(config["think_steps"]) + 1
        self.inputs, self.outputs = int(config["input_neurons"]), int(config["output_neurons"])
        self.activation, self.dropout = config["activation"], float(config["quintet"]["dropout"])
        self.embed_tokens = nn.Embedding(config["vocab_size"], self.inputs)
        self.synapses = nn.Linear(self.neurons, self.neurons)
        self.gain = nn.Parameter(torch.ones(self.neurons))
        self.lm_head = nn.Linear(self.outputs, config["vocab_size"])
        self.register_buffer("places", torch.arange(self.inputs), persistent=False)

    def forward(self, tokens_BT: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits [B, T, V], and the state after the last token."""
        state = state or self.initial_state(len(tokens_BT))
        run = self._run if runs_fused(self.synapses) else self._step_by_step
        h_BN, h_BTN = run(self.embed_tokens(tokens_BT), state.neurons)
        return self.lm_head(h_BTN[..., self.neurons - self.outputs :]), State(h_BN)

    def initial_state(self, batch_size: int, length: int | None = None) -> State:
        """Silence, in the weights' type and on their device."""
        return State(self.gain.new_zeros(batch_size, self.neurons))

    def _run(self, drive_BTI: Tensor, h_BN: Tensor) -> tuple[Tensor, Tensor]:
        """The last state, and those after each token, by the engine's fused run."""
        dropout = self.dropout if self.training else 0.0
        return recurrent_run(
            drive_BTI,
            self.synapses.weight.T,
            self.synapses.bias,
            self.gain,
            steps=self.steps * drive_BTI.shape[1],
            state=h_BN,
            places=self.places,
            every=self.steps,
            collect=self.steps,
            activation=self.activation,
            dropout=dropout,
            seed=torch.randint(2**62, ()) if dropout else 0,
        )

    def _step_by_step(self, drive_BTI: Tensor, h_BN: Tensor) -> tuple[Tensor, Tensor]:
        """The same by the layer `synapses`, whatever it is."""
        states = []
        for drive_BI in F.pad(drive_BTI, (0, self.neurons - self.inputs)).unbind(1):
            for step in range(self.steps):
                pulse = self.synapses(h_BN) if step else self.synapses(h_BN) + drive_BI
                fired = F.dropout(ACTIVATIONS[self.activation](pulse), self.dropout, self.training)
                h_BN = F.rms_norm(fired, (self.neurons,), self.gain, EPSILON)
            states.append(h_BN)
        return h_BN, torch.stack(states, 1)


def configuration(architecture: Any, vocab_size: int, eos: int | None, quintet: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of a model from the family's block of params.yaml."""
    a = architecture
    return {
        "model_type": "realnet",
        "vocab_size": vocab_size,
        "num_neurons": a.num_neurons,
        "input_neurons": a.input_neurons or a.num_neurons,
        "output_neurons": a.output_neurons or a.num_neurons,
        "think_steps": a.think_steps,
        "activation": a.activation,
        "context": a.context,
        "eos_token_id": eos,
        "quintet": {**quintet, "family": "realnet", "dropout": a.dropout, "weight_init": a.weight_init},
    }


def build(config: Mapping[str, Any]) -> RealNetLanguage:
    """A module whose weights mean nothing yet: `initialize` it or load them."""
    return RealNetLanguage(config)


@torch.no_grad()
def initialize(module: RealNetLanguage, seed: int) -> None:
    """The synapses by their initialiser, a normal embedding, no bias, and a silent output, each from a random stream of its own."""
    rng.seed_global(seed, "initialize", "synapses")
    module.synapses.weight.copy_(fresh(module.config["quintet"]["weight_init"], module.neurons))
    module.synapses.bias.zero_()
    module.embed_tokens.weight.normal_(0.0, 1.0, generator=rng.generator(seed, "initialize", "embed_tokens"))
    module.lm_head.weight.zero_()
    module.lm_head.bias.zero_()
