"""RealNet as a classifier in pulse mode: an image enters once, the network thinks in silence, and some of its neurons hold the answer.

The network of `network`: pixels enter at the first of `think_steps` + 1 steps, one a neuron at the first neurons, and the last neurons are
the classes; pixels and classes have a scale each. In training it answers after each step from `least_steps` on, so that it may be asked
at any time.
Shapes: B rows, F features (`pipeline.data.features`), N neurons, I pixels, C classes, A answers.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.data import features
from pipeline.models.base import Grown
from pipeline.models.realnet import layer
from pipeline.models.realnet.layer import Layer, State


class RealNetClassifier(Layer):
    """The family's module for images; logits [B, 1, C], since a row is a sequence of one position, but [B, A, C] in training."""

    context = 1

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        (self.feature,) = features.layout(config["quintet"])
        self.connect(self.feature.size)
        self.classes, self.least_steps = len(config["quintet"]["classes"]), int(config["quintet"]["least_steps"])
        self.input_scale = nn.Parameter(torch.ones(self.inputs))
        self.output_scale = nn.Parameter(torch.ones(self.classes))

    def forward(self, inputs_BF: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits after a whole thought that begins in `state`, and the state that it ends in."""
        h_BN, every = (state or self.initial_state(len(inputs_BF))).neurons, self.training and self.least_steps < self.steps
        h_BN, h_BSN = self.run(self.pulse(inputs_BF), h_BN, collect=1 if every else self.steps)
        return self.read(h_BSN[:, self.least_steps - 1 :] if every else h_BSN), State(h_BN)

    def step(self, inputs_BF: Tensor, state: State) -> tuple[Tensor, State]:
        """A single step: logits and the next state. Inputs that are 0, the presence too, are silence."""
        h_BN, h_B1N = self.step_by_step(self.pulse(inputs_BF), state.neurons, steps=1, collect=1)
        return self.read(h_B1N), State(h_BN)

    def grow(self, amount: int, generator: torch.Generator) -> Grown:
        """Before the classes."""
        return self.insert(self.neurons - self.classes, amount, generator)

    def pulse(self, inputs_BF: Tensor) -> Tensor:
        """What the first neurons are given, a single frame [B, 1, I]."""
        presence_B1, (image,) = features.split(inputs_BF, [self.feature])
        return (self.feature.normal(image).flatten(1) * presence_B1 * self.input_scale)[:, None]

    def read(self, h_BAN: Tensor) -> Tensor:
        """Logits [B, A, C]: what the last neurons show."""
        return h_BAN[..., self.neurons - self.classes :] * self.output_scale


def initialize(module: RealNetClassifier, seed: int) -> None:
    """The layer, and scales of 1."""
    layer.initialize(module, seed)
    nn.init.ones_(module.input_scale)
    nn.init.ones_(module.output_scale)
