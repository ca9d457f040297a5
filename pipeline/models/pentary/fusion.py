"""Several modalities to one vector, of which any subset may be there. Shapes: B rows, M modalities, W_m width of one, D common width.

`concat` puts features side by side. The others first project each modality to the common width D: `add` sums, `multiply` multiplies
(biases start at 1, so that a product of many does not vanish). `gated` weighs each channel of each modality by a softmax over modalities of
learned functions of all of them (after Arevalo et al. 2017, arXiv:1702.01992). `attention` lets one learned query attend to the modalities
(Vaswani et al. 2017, arXiv:1706.03762, equation 1). What is absent adds 0, multiplies by 1 and gets no weight.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.base import Weights
from pipeline.models.pentary.layers import initialize, mlp
from pipeline.models.pentary.network import Network, folded

METHODS = ("concat", "add", "multiply", "gated", "attention")


class Fusion(nn.Module):
    """`fusion(features, presence_BM)` is [B, `width`]; features are M matrices [B, W_m] in the order of `widths`; presence is 0 or 1.

    `ValueError` for a method that is none, and for no modality.
    """

    def __init__(self, widths: Mapping[str, int], method: str = "concat", common: int = 64) -> None:
        super().__init__()
        if method not in METHODS:
            raise ValueError(f"fusion method {method!r} is none of {', '.join(METHODS)}")
        if not widths:
            raise ValueError("widths must name at least one modality")
        self.method, self.modalities = method, list(widths)
        self.width = sum(widths.values()) if method == "concat" else common
        if method != "concat":
            self.projections = nn.ModuleList(nn.Linear(width, common) for width in widths.values())
        if method == "gated":
            self.gates = nn.ModuleList(nn.Linear(len(widths) * common, common) for _ in widths)
        if method == "attention":
            self.key, self.value = nn.Linear(common, common), nn.Linear(common, common)
            self.query = nn.Parameter(torch.zeros(common))

    def initialize(self, generator: torch.Generator) -> None:
        """Start a training."""
        initialize(self, generator)
        with torch.no_grad():
            if self.method == "multiply":
                for projection in self.projections:
                    projection.bias.fill_(1.0)  # type: ignore[union-attr, operator]
            if self.method == "attention":
                self.query.normal_(0.0, 1.0, generator=generator)

    def forward(self, features: list[Tensor], presence_BM: Tensor) -> Tensor:
        there_MB1 = presence_BM.T[..., None]
        if self.method == "concat":
            return torch.cat([x * there for x, there in zip(features, there_MB1, strict=True)], -1)
        parts = [project(x) for project, x in zip(self.projections, features, strict=True)]
        if self.method == "multiply":
            return torch.stack([torch.where(there > 0, x, 1.0) for x, there in zip(parts, there_MB1, strict=True)]).prod(0)
        x_BMD = torch.stack([x * there for x, there in zip(parts, there_MB1, strict=True)], 1)
        if self.method == "add":
            return x_BMD.sum(1)
        scores = self._gates(x_BMD) if self.method == "gated" else self._attention(x_BMD)
        share = scores.masked_fill(presence_BM[..., None] == 0, torch.finfo(scores.dtype).min).softmax(1)
        values = torch.tanh(x_BMD) if self.method == "gated" else self.value(x_BMD)
        return (share * values).sum(1)

    def _gates(self, x_BMD: Tensor) -> Tensor:
        return torch.stack([gate(x_BMD.flatten(1)) for gate in self.gates], 1)

    def _attention(self, x_BMD: Tensor) -> Tensor:
        return (self.key(x_BMD) @ self.query / len(self.query) ** 0.5)[..., None]


class MultimodalNetwork(Weights):
    """An encoder a modality, their fusion, and an MLP: x [B, F] to logits [B, C].

        {"modalities": {name: {"shape": [...], "layers": [...]}}, "fusion": method, "common": D, "hidden_dims": [...], "output_dim": C,
         "dropout": share}

    is its `config`. `layers` (descriptions, `layers.py`) make a vector [B, W] of what comes in as [B, *shape]. x holds the modalities'
    features side by side, in the order of `modalities`, and then one 0 or 1 a modality: whether it is there. What is absent may hold any
    finite numbers.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.settings = dict(config)
        parts = config["modalities"]
        self.sizes = [int(torch.Size(part["shape"]).numel()) for part in parts.values()]
        self.shapes = [list(part["shape"]) for part in parts.values()]
        self.encoders = nn.ModuleList(Network(part["layers"]) for part in parts.values())
        widths = {name: encoded_width(name, part) for name, part in parts.items()}
        self.fusion = Fusion(widths, config["fusion"], config.get("common", 64))
        self.dropout = float(config.get("dropout", 0.0))
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {self.dropout}")
        self.head = Network(mlp(self.fusion.width, list(config["hidden_dims"]), config["output_dim"]))

    @property
    def features(self) -> int:
        """F, presence included."""
        return sum(self.sizes) + len(self.sizes)

    def initialize(self, generator: torch.Generator) -> None:
        """Start a training."""
        initialize(self, generator)
        self.fusion.initialize(generator)

    def forward(self, x_BF: Tensor) -> Tensor:
        if x_BF.dim() != 2 or x_BF.shape[1] != self.features:
            raise ValueError(f"x must be [B, {self.features}], not {list(x_BF.shape)}")
        *parts, presence_BM = x_BF.split([*self.sizes, len(self.sizes)], 1)
        encoded = [
            F.dropout(encoder(part.reshape(part.shape[0], *shape)), self.dropout, self.training)
            for encoder, part, shape in zip(self.encoders, parts, self.shapes, strict=True)
        ]
        logits_BC: Tensor = self.head(self.fusion(encoded, presence_BM))
        return logits_BC

    def folded(self) -> "MultimodalNetwork":
        """The same function without batch norms (`network.folded`); call it on a trained network."""
        encoders = [folded(encoder) for encoder in self.encoders]  # type: ignore[arg-type]
        parts = {
            name: {**part, "layers": encoder.description}
            for (name, part), encoder in zip(self.settings["modalities"].items(), encoders, strict=True)
        }
        result = MultimodalNetwork({**self.settings, "modalities": parts})
        result.encoders = nn.ModuleList(encoders)
        result.fusion, result.head = self.fusion, self.head
        return result.train(self.training)


def encoded_width(name: str, part: Mapping[str, Any]) -> int:
    """W of what `layers` make of `shape`; `ValueError` that names the modality where they do not fit, or make no vector."""
    try:
        with torch.device("meta"):
            encoded = Network(part["layers"]).eval()(torch.zeros(1, *part["shape"]))
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"modality {name!r}: its layers cannot take {list(part['shape'])} ({error})") from None
    if encoded.dim() != 2:
        raise ValueError(f"modality {name!r}: its layers make {list(encoded.shape)}, not [B, W]: end them with `flatten`")
    return int(encoded.shape[1])
