"""The family `pentary`: a classifier of digits, or of anything else, from any subset of modalities (`fusion.MultimodalNetwork`).

Inputs float32 [B, F] as in `pipeline.data.features`; logits [B, 1, C]: a sample is one position, so that losses and metrics are those of
every family. Images go through convolutions 3 x 3, the first without, later ones with a stride of 2; spectrograms either through those,
all with a stride of 2, or through convolutions over time, 4 and then 3 frames long and with a stride of 2, the first over all bands;
sentences become the mean of their tokens' embeddings.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline import rng
from pipeline.data import features
from pipeline.data.features import Feature
from pipeline.models.base import Model
from pipeline.models.pentary.fusion import MultimodalNetwork

Layers = list[dict[str, Any]]


class Classifier(Model):
    """The network behind the protocol of `pipeline.models`; there is no state."""

    context = 1

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)
        self.features = features.layout(config["quintet"])
        network = config["network"]
        ordered = {feature.name: network["modalities"][feature.name] for feature in self.features}  # JSON keeps no order of keys
        self.network = MultimodalNetwork({**network, "modalities": ordered})

    def forward(self, inputs_BF: Tensor, state: None = None) -> tuple[Tensor, None]:
        presence_BM, parts = features.split(inputs_BF, self.features)
        normal = [feature.normal(part) for feature, part in zip(self.features, parts, strict=True)]
        return self.network(features.join(presence_BM, normal))[:, None], None

    def initial_state(self, batch_size: int, length: int | None = None) -> None:
        """There is none."""


def configuration(architecture: Any, vocab_size: int, eos: int | None, quintet: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of a model: layers of each modality that the data set has, and how they come together."""
    a = architecture
    found = features.layout(quintet)
    network = {
        "modalities": {each.name: {"shape": list(each.shape), "layers": _encoder(each, a, vocab_size)} for each in found},
        "fusion": a.fusion,
        "common": a.common,
        "hidden_dims": list(a.hidden_dims),
        "output_dim": len(quintet["classes"]),
        "dropout": a.dropout,
    }
    head = {"model_type": "pentary", "vocab_size": vocab_size, "eos_token_id": eos}
    return {**head, "network": network, "quintet": {**quintet, "family": "pentary"}}


def _encoder(feature: Feature, a: Any, vocab_size: int) -> Layers:
    match feature.name:
        case "text":
            return [{"type": "tokenmean", "num_embeddings": vocab_size + 1, "embedding_dim": a.embedding_dim}]
        case "image":
            return _convolutions(feature, a.image_channels, (3, 3), (3, 3), ((1, 1), (2, 2)))
        case _ if a.audio_kernels == "patches":
            return _convolutions(feature, a.audio_channels, (3, 3), (3, 3), ((2, 2), (2, 2)))
        case _:
            return _convolutions(feature, a.audio_channels, (4, feature.shape[1]), (3, 1), ((2, 1), (2, 1)))


def _convolutions(
    feature: Feature, channels: Sequence[int], first: tuple[int, int], later: tuple[int, int], strides: tuple[tuple[int, int], ...]
) -> Layers:
    """Convolutions of so many channels with a ReLU after each, and all that comes out of them as one vector."""
    layers: Layers = [{"type": "reshape", "shape": [1, *feature.shape]}]
    before = 1
    for i, after in enumerate(channels):
        sizes = {
            "in_channels": before,
            "out_channels": after,
            "kernel_size": list(later if i else first),
            "stride": list(strides[min(i, 1)]),
        }
        layers += [{"type": "conv2d", **sizes}, {"type": "relu"}]
        before = after
    return [*layers, {"type": "flatten"}]


def build(config: Mapping[str, Any]) -> Classifier:
    """A module whose weights mean nothing yet: `initialize` it or load them."""
    return Classifier(config)


def initialize(module: Classifier, seed: int) -> None:
    """Start a training: see `layers.initialize`."""
    with torch.no_grad():
        module.network.initialize(rng.generator(seed, "initialize"))
