"""A classifier that the pipeline exported as JSON, as one network of layers: what `PentaryModel.load` makes of it.

The layers are those of the classifier: parts of the inputs, their normalization, each modality's encoder, its presence as a factor, the
fusion and the head. Inputs are the pipeline's (`pipeline.data.features`): the raw features of all modalities side by side, then a 0 or 1
for each.
"""

from pathlib import Path
from typing import Any

from torch import nn

from pipeline.conversion import json as exports
from pipeline.errors import UserError
from pipeline.models.pentary.classifier import Classifier
from pipeline.models.pentary.network import INPUT, Network

FUSIONS = ("concat", "add", "multiply")
Layers = list[dict[str, Any]]


def read(document: Any, path: Path) -> tuple[Network, dict[str, Any]]:
    """The network of an exported document, and its input_dim, output_dim and hidden_dims.

    `UserError` for another family than pentary, a fusion that is no chain of these layers, and as `pipeline.conversion.json.decode`.
    """
    family = document["architecture"].get("model_type") if isinstance(document["architecture"], dict) else None
    if family != "pentary":
        raise UserError(f"{path} holds a model of the type {family!r}, which has no layers here: name the export of a pentary model")
    module = exports.decode(document, path)
    assert isinstance(module, Classifier)
    method = module.network.fusion.method
    if method not in FUSIONS:
        raise UserError(f"{path}: the fusion {method!r} is no chain of layers; only {', '.join(FUSIONS)} can be loaded here")
    network = network_of(module)
    head = {"input_dim": module.network.features, "output_dim": module.network.settings["output_dim"]}
    return network, {**head, "hidden_dims": list(module.network.settings["hidden_dims"])}


def network_of(module: Classifier) -> Network:
    """The same function of the same inputs, with the classifier's own weights."""
    layers: Layers = []
    sources: dict[str, nn.Module] = {}

    def add(kind: str, name: str, *inputs: str, source: nn.Module | None = None, **keys: Any) -> str:
        layers.append({"type": kind, "name": name, "inputs": list(inputs), **keys})
        if source is not None:
            sources[name] = source
        return name

    def chain(network: Network, prefix: str, start: str) -> str:
        places = {INPUT: start} | {layer["name"]: f"{prefix}.{layer['name']}" for layer in network.description}
        for layer, source in zip(network.description, network.layers, strict=True):
            layers.append({**layer, "name": places[layer["name"]], "inputs": [places[one] for one in layer["inputs"]]})
            sources[layers[-1]["name"]] = source
        return str(layers[-1]["name"])

    parts, presence = [], module.network.features - len(module.features)
    place = 0
    for i, (feature, encoder) in enumerate(zip(module.features, module.network.encoders, strict=True)):
        raw = add("slice", f"{feature.name}.part", INPUT, start=place, stop=place + feature.size)
        normal = add("normalize", f"{feature.name}.normal", raw, mean=feature.mean, deviation=feature.deviation)
        shaped = add("reshape", f"{feature.name}.shaped", normal, shape=list(feature.shape))
        found = chain(encoder, feature.name, shaped)  # type: ignore[arg-type]
        there = add("slice", f"{feature.name}.there", INPUT, start=presence + i, stop=presence + i + 1)
        parts.append(_fused(module, i, found, there, feature.name, add))
        place += feature.size
    method = module.network.fusion.method
    if len(parts) > 1:
        layers.append({"type": method, "name": "fusion", "inputs": parts} | ({"axis": 0} if method == "concat" else {}))
    chain(module.network.head, "head", str(layers[-1]["name"]))
    network = Network(layers)
    for layer, target in zip(network.description, network.layers, strict=True):
        if layer["name"] in sources:
            target.load_state_dict(sources[layer["name"]].state_dict())
    return network.eval()


def _fused(module: Classifier, i: int, found: str, there: str, name: str, add: Any) -> str:
    """What a modality gives to the fusion: its features, projected but for `concat`; where it is absent zeros, or ones to multiply by."""
    fusion = module.network.fusion
    if fusion.method != "concat":
        source = fusion.projections[i]
        found = add("linear", f"{name}.projected", found, source=source, in_features=source.in_features, out_features=source.out_features)
    shown = add("multiply", f"{name}.shown", found, there)
    if fusion.method != "multiply":
        return str(shown)
    absent = add("normalize", f"{name}.absent", there, mean=1.0, deviation=-1.0)
    return str(add("add", f"{name}.factor", shown, absent))
