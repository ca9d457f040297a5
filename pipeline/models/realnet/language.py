"""RealNet as a language model: tokens enter one after another, each is thought about for some silent steps, then the next one is predicted.

The network of `network` in sequential mode: a token's embedding enters at the first of its `think_steps` + 1 steps, at the first neurons,
and the prediction is read from the last neurons after the last.
Shapes: B sequences, T tokens, N neurons, V vocabulary.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline import rng
from pipeline.models.base import Grown, spread
from pipeline.models.realnet import layer
from pipeline.models.realnet.layer import Layer, State


class RealNetLanguage(Layer):
    """The family's module for texts."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        inputs, self.outputs = int(config["input_neurons"]), int(config["output_neurons"])
        self.context = int(config["context"])
        self.embed_tokens = nn.Embedding(config["vocab_size"], inputs)
        self.connect(inputs)
        self.lm_head = nn.Linear(self.outputs, config["vocab_size"])

    def forward(self, tokens_BT: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits [B, T, V], and the state after the last token."""
        state = state or self.initial_state(len(tokens_BT))
        h_BN, h_BTN = self.run(self.embed_tokens(tokens_BT), state.neurons, collect=self.steps)
        return self.lm_head(h_BTN[..., self.neurons - self.outputs :]), State(h_BN)

    def grow(self, amount: int, generator: torch.Generator) -> Grown:
        """Between the neurons for input and for output; where these overlap, at the end, and the new ones are read too, by weights of 0."""
        if self.inputs <= self.neurons - self.outputs:
            return self.insert(self.neurons - self.outputs, amount, generator)
        grown = self.insert(self.neurons, amount, generator)
        kept, rows = torch.arange(self.outputs), len(self.lm_head.weight)
        self.outputs += amount
        self.lm_head.weight = nn.Parameter(spread(self.lm_head.weight, (None, kept), (rows, self.outputs)))
        self.lm_head.in_features = self.config["output_neurons"] = self.outputs
        return Grown({**grown.parameters, "lm_head.weight": (None, kept)}, grown.state, grown.size)


@torch.no_grad()
def initialize(module: RealNetLanguage, seed: int) -> None:
    """The layer, a normal embedding from a random stream of its own, and a silent output."""
    layer.initialize(module, seed)
    module.embed_tokens.weight.normal_(0.0, 1.0, generator=rng.generator(seed, "initialize", "embed_tokens"))
    module.lm_head.weight.zero_()
    module.lm_head.bias.zero_()
