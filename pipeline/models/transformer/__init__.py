"""Decoder-only transformer with Qwen3's tensors, names and arithmetic, so that `transformers` and llama.cpp read its directory as it is.

Pre-RMSNorm (Zhang & Sennrich 2019), rotary positions on half-split channels (Su et al. 2021), RMSNorm on queries and keys, SwiGLU (Shazeer
2020), grouped key and value heads, tied embeddings. Shapes: B sequences, T tokens, D hidden_size, H heads, K channels a head, V vocabulary.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import rng
from pipeline.models.base import Model
from pipeline.models.transformer.rotary import rotary_tables, rotate
from pipeline.models.transformer.sizes import require_possible
from pipeline.models.transformer.sublayers import halves

SHORT = 256
"""Up to this context, attention without a cache is written out on a CPU: torch's fused kernel is several times slower there where it takes
its products from oneDNN (see `training.devices.products`), and the scores of so few tokens need little memory."""


@dataclass
class Cache:
    """Keys and values of the tokens so far, in preallocated memory: `keys[layer]` is [B, H, length, K], of which `[:, :, :used]` counts."""

    keys: list[Tensor]
    values: list[Tensor]
    used: int = 0

    @property
    def room(self) -> int:
        """How many more tokens fit."""
        return int(self.keys[0].shape[2]) - self.used

    def extend(self, layer: int, k_BHTK: Tensor, v_BHTK: Tensor) -> tuple[Tensor, Tensor]:
        """Note a layer's new keys and values; all that it has now, as views."""
        past, end = self.used, self.used + k_BHTK.shape[2]
        keys, values = self.keys[layer], self.values[layer]
        keys[:, :, past:end], values[:, :, past:end] = k_BHTK, v_BHTK
        return keys[:, :, :end], values[:, :, :end]


class Embedding(nn.Embedding):
    """Token embedding that serves as the output matrix too where the two are tied."""

    def project(self, x_BTD: Tensor) -> Tensor:
        return F.linear(x_BTD, self.weight)


class Attention(nn.Module):
    """Causal attention; `layer` is its place in the cache."""

    def __init__(self, config: Mapping[str, Any], layer: int) -> None:
        super().__init__()
        width, self.head_dim, eps = config["hidden_size"], config["head_dim"], config["rms_norm_eps"]
        heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
        self.layer, self.grouped = layer, heads != groups
        self.written_out = not self.grouped and config["max_position_embeddings"] <= SHORT
        self.q_proj = nn.Linear(width, heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(width, groups * self.head_dim, bias=False)
        self.v_proj = nn.Linear(width, groups * self.head_dim, bias=False)
        self.o_proj = nn.Linear(heads * self.head_dim, width, bias=False)
        self.q_norm = nn.RMSNorm(self.head_dim, eps)
        self.k_norm = nn.RMSNorm(self.head_dim, eps)

    def forward(self, x_BTD: Tensor, rope: tuple[Tensor, Tensor], cache: Cache | None) -> Tensor:
        q, k, v = (self._heads(project(x_BTD)) for project in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(self.q_norm(q), *rope).transpose(1, 2), rotate(self.k_norm(k), *rope).transpose(1, 2)
        v = v.transpose(1, 2)
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)
            out = F.scaled_dot_product_attention(q, k, v, **_causal(q.shape[2], k.shape[2], q.device), enable_gqa=self.grouped)
        elif self.written_out and q.device.type == "cpu":
            out = attend(q, k, v)
        else:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.grouped)
        return self.o_proj(out.transpose(1, 2).flatten(2))

    def _heads(self, x_BTE: Tensor) -> Tensor:
        return x_BTE.unflatten(2, (-1, self.head_dim))


def _causal(new: int, total: int, device: torch.device) -> dict[str, Any]:
    """Arguments that let each of the last `new` among `total` tokens see itself and all before it."""
    if new == 1:
        return {}
    if new == total:
        return {"is_causal": True}
    return {"attn_mask": torch.ones(new, total, dtype=torch.bool, device=device).tril(total - new)}


def attend(q_BHTK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor) -> Tensor:
    """Causal attention written out, softmax(q kᵀ / sqrt(K) + mask) v: the same as torch's."""
    batch, heads, length, channels = q_BHTK.shape
    mask = q_BHTK.new_full((length, length), -torch.inf).triu(1)
    scores = torch.baddbmm(mask, q_BHTK.flatten(0, 1), k_BHTK.flatten(0, 1).mT, alpha=channels**-0.5)
    return torch.bmm(scores.softmax(-1), v_BHTK.flatten(0, 1)).unflatten(0, (batch, heads))


class MLP(nn.Module):
    """SwiGLU."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, inner = config["hidden_size"], config["intermediate_size"]
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))


class Layer(nn.Module):
    """Attention and MLP, each behind a norm and added to the residual stream."""

    def __init__(self, config: Mapping[str, Any], layer: int) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer)
        self.mlp = MLP(config)
        self.input_layernorm = nn.RMSNorm(config["hidden_size"], config["rms_norm_eps"])
        self.post_attention_layernorm = nn.RMSNorm(config["hidden_size"], config["rms_norm_eps"])
        self.dropout = nn.Dropout(config["quintet"]["dropout"])

    def forward(self, x_BTD: Tensor, rope: tuple[Tensor, Tensor], cache: Cache | None) -> Tensor:
        x_BTD = x_BTD + self.dropout(self.self_attn(self.input_layernorm(x_BTD), rope, cache))
        return x_BTD + self.dropout(self.mlp(self.post_attention_layernorm(x_BTD)))


class Body(nn.Module):
    """Everything below the output matrix; the name `model` of it is part of the tensors' names."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config["vocab_size"], config["hidden_size"])
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config["num_hidden_layers"]))
        self.norm = nn.RMSNorm(config["hidden_size"], config["rms_norm_eps"])


class Transformer(Model):
    """The family's module: see `pipeline.models` for the protocol that all families share."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)
        self.context = int(config["max_position_embeddings"])
        self.model = Body(config)
        self.lm_head = None if config["tie_word_embeddings"] else nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)
        self.dropout = nn.Dropout(config["quintet"]["dropout"])
        cosine, sine = rotary_tables(self.context, config["head_dim"], config["rope_theta"])
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)

    def forward(self, tokens_BT: Tensor, state: Cache | None = None) -> tuple[Tensor, Cache | None]:
        """Logits [B, T, V], and the state with these tokens added; `ValueError` where positions run past the context or the cache."""
        past, new = (state.used if state else 0), tokens_BT.shape[1]
        if past + new > self.context or (state and new > state.room):
            raise ValueError(f"{past} + {new} tokens do not fit the context ({self.context}) or the cache")
        rope = self.angles(past, new)
        x_BTD = self.dropout(self.model.embed_tokens(tokens_BT))
        for layer in self.model.layers:
            x_BTD = layer(x_BTD, rope, state)
        if state:
            state.used += new
        return self.tail(x_BTD), state

    def blocks(self) -> list[nn.Module]:
        return [half for layer in self.model.layers for half in halves(layer)]

    def enter(self, tokens_BT: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor], None]:
        return self.dropout(self.model.embed_tokens(tokens_BT)), self.angles(0, tokens_BT.shape[1]), None

    def tail(self, x_BTD: Tensor) -> Tensor:
        """Logits [B, T, V] of what the last layer returned."""
        return self.head(self.model.norm(x_BTD))

    def angles(self, past: int, new: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines [T, 1, K] of the `new` positions after `past`."""
        return self.cosine[past : past + new], self.sine[past : past + new]

    def head(self, x_BTD: Tensor) -> Tensor:
        """Logits [B, T, V] of normed hidden vectors."""
        return self.model.embed_tokens.project(x_BTD) if self.lm_head is None else self.lm_head(x_BTD)

    @torch.no_grad()
    def rebased(self, basis: Callable[[str, int], Tensor]) -> "Transformer":
        """Other axes for the residual stream and for each layer's values; queries and keys keep theirs, which the rotary positions need.

        The gains of the norms go into the matrices behind them, since a gain a channel means nothing on other axes. One matrix cannot be
        the embedding without the last gain and the output with it, so tied ones part.
        """
        other = build({**self.config, "tie_word_embeddings": False})
        output = self.model.embed_tokens if self.lm_head is None else self.lm_head
        other.load_state_dict({**self.state_dict(), "lm_head.weight": output.weight})
        width, head_dim = self.config["hidden_size"], self.config["head_dim"]
        stream_DD = basis("stream", width)
        _turn(other.model.embed_tokens.weight, None, stream_DD)
        layer: Any
        for i, layer in enumerate(other.model.layers):
            attention, mlp, values_KK = layer.self_attn, layer.mlp, basis(f"values.{i}", head_dim)
            _fold(layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj), stream_DD)
            _fold(layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj), stream_DD)
            _turn(attention.v_proj.weight, values_KK, None)
            _turn(attention.o_proj.weight, stream_DD, values_KK)
            _turn(mlp.down_proj.weight, stream_DD, None)
        _fold(other.model.norm, [other.lm_head] if other.lm_head else [], stream_DD)
        return other.train(self.training)

    def initial_state(self, batch_size: int, length: int | None = None) -> Cache:
        """An empty cache for `length` tokens (the whole context by default), in the weights' type and on their device."""
        config, like = self.config, self.model.norm.weight
        shape = (batch_size, config["num_key_value_heads"], length or self.context, config["head_dim"])
        keys, values = ([like.new_zeros(shape) for _ in self.model.layers] for _ in range(2))
        return Cache(keys, values)


def _turn(weight_RC: Tensor, rows: Tensor | None, columns: Tensor | None) -> None:
    """Give a matrix new axes, where it writes (`rows`) and where it reads (`columns`), block by block if there are more channels."""
    for some_RC in weight_RC.split(len(weight_RC) if rows is not None else 1024):  # the output matrix alone may have many rows
        weight = some_RC.double()
        if rows is not None:
            weight = torch.einsum("bic,ij->bjc", weight.unflatten(0, (-1, len(rows))), rows).flatten(0, 1)
        if columns is not None:
            weight = torch.einsum("rbi,ij->rbj", weight.unflatten(1, (-1, len(columns))), columns).flatten(1)
        some_RC.copy_(weight)


def _fold(norm: nn.RMSNorm, readers: Sequence[nn.Linear], columns: Tensor) -> None:
    """Move a norm's gain into the matrices that read it, and give those new axes."""
    for reader in readers:
        reader.weight.mul_(norm.weight)
        _turn(reader.weight, None, columns)
    norm.weight.fill_(1.0)


def configuration(architecture: Any, vocab_size: int, eos: int | None, quintet: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of a model: Qwen3's keys from the family's block of params.yaml, and our own under `quintet`."""
    a = architecture
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": vocab_size,
        "hidden_size": a.hidden_size,
        "num_hidden_layers": a.num_hidden_layers,
        "num_attention_heads": a.num_attention_heads,
        "num_key_value_heads": a.num_key_value_heads or a.num_attention_heads,
        "head_dim": a.head_dim or a.hidden_size // a.num_attention_heads,
        "intermediate_size": a.intermediate_size,
        "max_position_embeddings": a.max_position_embeddings,
        "rms_norm_eps": a.rms_norm_eps,
        "rope_theta": a.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": a.rope_theta},
        "tie_word_embeddings": a.tie_word_embeddings,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_cache": True,
        "bos_token_id": None,
        "eos_token_id": eos,
        "pad_token_id": None,
        "dtype": "float32",
        "quintet": {**quintet, "family": "transformer", "dropout": a.dropout},
    }


def build(config: Mapping[str, Any]) -> Transformer:
    """A module whose weights mean nothing yet: `initialize` it or load them. Raises `ValueError` naming a size that cannot be."""
    require_possible(config)
    return Transformer(config)


@torch.no_grad()
def initialize(module: Transformer, seed: int) -> None:
    """Normal weights from one random stream a tensor, and zeros where a layer writes to the residual stream: it starts as the identity."""
    for name, parameter in module.named_parameters():
        if parameter.dim() != 2:
            parameter.fill_(1.0)
        elif name.endswith(("o_proj.weight", "down_proj.weight")):
            parameter.zero_()
        else:
            scale = 0.02 if "embed_tokens" in name else 1.0 / math.sqrt(parameter.shape[1])
            parameter.normal_(0.0, scale, generator=rng.generator(seed, "initialize", name))
