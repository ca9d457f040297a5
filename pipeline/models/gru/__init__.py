"""Gated recurrent units (Cho et al. 2014, arXiv:1406.1078) over an embedding: the baseline of the recurrent families.

    r, z = sigmoid(W_r x + U_r h), sigmoid(W_z x + U_z h);   n = tanh(W_n x + r (U_n h));   h' = (1 - z) n + z h      (biases left out)

as `torch.nn.GRU` computes it. Shapes: B sequences, T tokens, E embedding_size, H hidden_size, L layers, V vocabulary.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipeline import rng
from pipeline.models.base import Model, runs_fused


class State(NamedTuple):
    """What the layers remember, [B, L, H]."""

    hidden: Tensor


class Layer(nn.Module):
    """W (`input`) and U (`hidden`) for r, z and n, one below the other."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.input, self.hidden = nn.Linear(inputs, 3 * hidden), nn.Linear(hidden, 3 * hidden)

    def forward(self, x_BTE: Tensor, h_BH: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs [B, T, H] and the state after the last."""
        if runs_fused(self.input) and runs_fused(self.hidden):
            weights = [self.input.weight, self.hidden.weight, self.input.bias, self.hidden.bias]
            out_BTH, h_1BH = torch.gru(x_BTE, h_BH[None], weights, True, 1, 0.0, self.training, False, True)
            return out_BTH, h_1BH[0]
        outputs = []
        for drive_BG in self.input(x_BTE).unbind(1):
            (xr, xz, xn), (hr, hz, hn) = drive_BG.chunk(3, 1), self.hidden(h_BH).chunk(3, 1)
            z_BH = torch.sigmoid(xz + hz)
            h_BH = (1 - z_BH) * torch.tanh(xn + torch.sigmoid(xr + hr) * hn) + z_BH * h_BH
            outputs.append(h_BH)
        return torch.stack(outputs, 1), h_BH


class GRU(Model):
    """The family's module."""

    recurrent = True

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config, self.context = dict(config), int(config["context"])
        embedding, self.hidden_size, layers = config["embedding_size"], config["hidden_size"], config["num_hidden_layers"]
        self.embed_tokens = nn.Embedding(config["vocab_size"], embedding)
        self.layers = nn.ModuleList(Layer(self.hidden_size if i else embedding, self.hidden_size) for i in range(layers))
        self.lm_head = nn.Linear(self.hidden_size, config["vocab_size"])

    def forward(self, tokens_BT: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits [B, T, V], and the state after the last token."""
        x_BTE = self.embed_tokens(tokens_BT)
        after = []
        for layer, h_BH in zip(self.layers, (state or self.initial_state(len(tokens_BT))).hidden.unbind(1), strict=True):
            x_BTE, h_BH = layer(x_BTE, h_BH)
            after.append(h_BH)
        return self.lm_head(x_BTE), State(torch.stack(after, 1))

    def initial_state(self, batch_size: int, length: int | None = None) -> State:
        """Zeros, in the weights' type and on their device."""
        return State(self.lm_head.bias.new_zeros(batch_size, len(self.layers), self.hidden_size))


def configuration(architecture: Any, vocab_size: int, eos: int | None, quintet: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of a model from the family's block of params.yaml."""
    a = architecture
    return {
        "model_type": "gru",
        "vocab_size": vocab_size,
        "hidden_size": a.hidden_size,
        "embedding_size": a.embedding_size or a.hidden_size,
        "num_hidden_layers": a.num_hidden_layers,
        "context": a.context,
        "eos_token_id": eos,
        "quintet": {**quintet, "family": "gru"},
    }


def build(config: Mapping[str, Any]) -> GRU:
    """A module whose weights mean nothing yet: `initialize` it or load them."""
    return GRU(config)


@torch.no_grad()
def initialize(module: GRU, seed: int) -> None:
    """As `torch.nn.GRU` begins, uniform within 1 / sqrt(H), one random stream a tensor; a normal embedding."""
    for name, parameter in module.named_parameters():
        stream = rng.generator(seed, "initialize", name)
        if name == "embed_tokens.weight":
            parameter.normal_(0.0, 1.0, generator=stream)
        else:
            bound = module.hidden_size**-0.5
            parameter.uniform_(-bound, bound, generator=stream)
