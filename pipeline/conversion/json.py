"""Plain JSON in the schema of the Pentary training tools, for any language: digits as lists of whole numbers, and scales.

    {"input_dim", "output_dim", "hidden_dims", "layers": [{"type": "linear", "in_features", "out_features", "use_bias", "weight_pentary",
     "bias_pentary", "weight_scale", "bias_scale"}, ...]}

What that schema has no word for: `name` of each layer (as in the model's directory), `weight_scale` as a list of a scale (or a list of them
for equal parts) a row, `bias` as floats, the types `embedding` and `rmsnorm`, and `architecture`, which is config.json.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import io
from pipeline.conversion import Bounds, Source, weights
from pipeline.conversion.weights import Matrix
from pipeline.data import features
from pipeline.errors import UserError
from pipeline.models.base import Model

BOUNDS = Bounds(max_logit_difference=1e-3, kl_divergence=1e-6, greedy_equal=0.9)
WEIGHTS = "model.json"
LARGEST = 1 << 28
"""Bytes of the largest file that is read."""


def export(module: Model, source: Source, target: Path) -> None:
    """Write model.json, one layer a line, and the tokenizer."""
    config, matrices, others = weights.quantized(source.model)
    biases = {name: others.pop(key).tolist() for name in matrices if (key := name.removesuffix("weight") + "bias") in others}
    layers = [_matrix(name, matrix, biases.get(name)) for name, matrix in sorted(matrices.items())]
    layers += [{"type": "rmsnorm", "name": name, "weight": tensor.tolist()} for name, tensor in sorted(others.items())]
    head = {**_dimensions(config), "architecture": config}
    lines = [f"{json.dumps(key)}: {json.dumps(value, sort_keys=True)},\n" for key, value in head.items()]
    written = ",\n".join(json.dumps(layer, separators=(",", ":")) for layer in layers)
    io.write_bytes(target / WEIGHTS, f'{{{"".join(lines)}"layers": [\n{written}\n]}}\n'.encode())
    source.copy_tokenizer(target)


def _widths(config: Mapping[str, Any]) -> list[int]:
    """Of the layers between input and output; a brain's modules."""
    if "neurons" in config:
        return list(config["neurons"].values())
    return [config["num_neurons"]] if "num_neurons" in config else [config["hidden_size"]] * config["num_hidden_layers"]


def _dimensions(config: Mapping[str, Any]) -> dict[str, Any]:
    """Widths at both ends and between."""
    if "network" in config:
        network = config["network"]
        inputs = features.width(features.layout(config["quintet"]))
        return {"input_dim": inputs, "output_dim": network["output_dim"], "hidden_dims": network["hidden_dims"]}
    if "features" in config["quintet"]:
        return {"input_dim": config["input_neurons"], "output_dim": config["output_neurons"], "hidden_dims": _widths(config)}
    return {"input_dim": config["vocab_size"], "output_dim": config["vocab_size"], "hidden_dims": _widths(config)}


def _matrix(name: str, matrix: Matrix, bias: list[float] | None) -> dict[str, Any]:
    rows, columns = matrix.digits_RK.shape
    scale = matrix.scale_RG[:, 0] if matrix.scale_RG.shape[1] == 1 else matrix.scale_RG
    return {
        "type": "embedding" if "embed" in name else "linear",
        "name": name,
        "in_features": columns,
        "out_features": rows,
        "use_bias": bias is not None,
        "weight_pentary": matrix.digits_RK.tolist(),
        "bias_pentary": None,
        "weight_scale": scale.tolist(),
        "bias_scale": None,
    } | ({} if bias is None else {"bias": bias})


def load(folder: Path) -> Model:
    """The model of an export; raises `UserError` as `decode` does."""
    return decode(io.read_json(folder / WEIGHTS, LARGEST), folder / WEIGHTS)


def decode(document: Any, path: Path) -> Model:
    """The model that a document describes; raises `UserError` naming the file `path`, and the layer where it describes none."""
    if not isinstance(document, dict) or not isinstance(document.get("architecture"), dict):
        raise UserError(f"{path} has no architecture: run the stage `convert` again")
    try:
        tensors = dict(tensor for layer in document["layers"] for tensor in _tensors(layer, path))
        return weights.module(document["architecture"], tensors, path)
    except (KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{path} does not describe a whole model ({error!r}): run the stage `convert` again") from None


def _tensors(layer: dict[str, Any], path: Path) -> Iterator[tuple[str, Tensor]]:
    """The parameters of a layer, by name."""
    name = layer["name"]
    try:
        if layer["type"] == "rmsnorm":
            yield name, torch.tensor(layer["weight"], dtype=torch.float32)
            return
        digits = torch.tensor(layer["weight_pentary"], dtype=torch.int8).view(layer["out_features"], layer["in_features"])
        scale = torch.tensor(layer["weight_scale"], dtype=torch.float32).view(len(digits), -1)
        yield name, Matrix(digits, scale, levels=0).dense()
        if layer["use_bias"]:
            yield name.removesuffix("weight") + "bias", torch.tensor(layer["bias"], dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: layer {name} is damaged ({error}): run the stage `convert` again") from None
