"""A transformer's layers in halves: attention and MLP, each with its norm, as modules of their own on the layer's parameters."""

from typing import Any

from torch import Tensor, nn


class _Half(nn.Module):
    adds_to_stream = True

    def __init__(self, norm: nn.Module, inner: nn.Module, dropout: nn.Module) -> None:
        super().__init__()
        self.norm, self.inner, self.dropout = norm, inner, dropout


class _Attention(_Half):
    def forward(self, x_BTD: Tensor, rope: tuple[Tensor, Tensor], cache: Any) -> Any:
        return x_BTD + self.dropout(self.inner(self.norm(x_BTD), rope, cache))


class _MLP(_Half):
    def forward(self, x_BTD: Tensor, rope: tuple[Tensor, Tensor], cache: Any) -> Any:
        return x_BTD + self.dropout(self.inner(self.norm(x_BTD)))


def halves(layer: Any) -> list[nn.Module]:
    """The two, to be called one after another like the layer."""
    attention = _Attention(layer.input_layernorm, layer.self_attn, layer.dropout)
    return [attention, _MLP(layer.post_attention_layernorm, layer.mlp, layer.dropout)]
