"""ModelQuantizer: weights as lists of numbers, in the document's dictionaries, to five levels."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import ops
from pipeline.apps.pentary import documents
from pipeline.errors import UserError
from pipeline.models.pentary.network import Network
from pipeline.quantization import grid
from pipeline.quantization.modules import PackedMatrix

METHODS = ("per_tensor", "per_channel")


class ModelQuantizer:
    """Quantizes by the scale of least squared error: one for the whole tensor ("per_tensor"), or one for each output ("per_channel").

    The document says per channel for convolutions only; here it is for linear layers too, where it is worth as much. `UserError` for any
    other method.
    """

    def __init__(self, quantization_method: str = "per_tensor") -> None:
        if quantization_method not in METHODS:
            raise UserError(f"ModelQuantizer: quantization_method {quantization_method!r} is none of {', '.join(METHODS)}")
        self.quantization_method = quantization_method

    def matrix(self, weight: Tensor) -> PackedMatrix:
        """Weights [R, ...] as R packed rows, all with the same scale if the method says so."""
        rows = weight.detach().float().flatten(1)
        if self.quantization_method == "per_channel":
            digits, scale = grid.quantize(rows)
        else:
            scale = grid.stored(grid.best_scale(rows.reshape(1, -1))).to(grid.SCALE_TYPE).expand(len(rows)).contiguous()
            digits = grid.nearest(rows, scale)
        return PackedMatrix(ops.pack(digits), scale, rows.shape[1])

    def quantize(self, network: Network) -> dict[str, Any]:
        """The document of a plain network, of which `input_dim` and so on are those of its matrices."""
        matrices = {name: self.matrix(parameter) for name, parameter in network.quantizable().items()}
        document = documents.encode(network, matrices, {})
        if self.quantization_method == "per_tensor":
            for layer in document["layers"]:
                if "weight_scale" in layer:
                    layer["weight_scale"] = layer["weight_scale"][0]
        widths = [len(parameter) for parameter in network.quantizable().values()]
        first = next(iter(network.quantizable().values()), None)
        head = {"input_dim": first.shape[1] if first is not None else 0, "output_dim": widths[-1] if widths else 0}
        return {**head, "hidden_dims": widths[:-1], **document}

    def quantize_model_from_dict(self, model_dict: Mapping[str, Any]) -> dict[str, Any]:
        """The document of {"layers": [{"type": "linear", "weights": [[...]], "bias": [...]}, ...]}; biases may be absent.

        Layers of type conv2d have weights [O, C, h, w], and their own keys; layers without weights have theirs
        (`pipeline.models.pentary.layers`). `input_shape` beside `layers`, with the batch, is that of a first layer which takes images: only
        with it can a trainer load the document. `UserError` names the layer that is none.
        """
        layers = model_dict.get("layers") if isinstance(model_dict, Mapping) else None
        if not isinstance(layers, list) or not layers:
            raise UserError("the model is no dictionary with a list `layers`: give {'layers': [{'type': 'linear', 'weights': ...}]}")
        if "input_shape" in model_dict:
            shape = _shape(model_dict["input_shape"])
            document = self.quantize_model_from_dict({"layers": [{"type": "reshape", "shape": shape}, *layers]})
            return document | {"input_dim": math.prod(shape)}
        network = Network([_described(i, layer) for i, layer in enumerate(layers)])
        for i, (layer, module) in enumerate(zip(layers, network.layers, strict=True)):
            if "weights" in layer:
                names = [name for name in ("weight", "bias") if name in module.state_dict()]
                keys = {"weight": "weights", "bias": "bias"}
                module.load_state_dict({name: _floats(i, keys[name], layer) for name in names})
        return self.quantize(network)

    def save_quantized_model(self, model: Mapping[str, Any], filepath: str | Path) -> None:
        """Write such a document, whole or not at all; `PentaryTrainer.load_model` reads it, and the document's own reader does."""
        documents.write(Path(filepath), model)


def _shape(given: Any) -> list[int]:
    """A sample's shape out of that of a batch; `UserError`."""
    sizes = list(given) if isinstance(given, list | tuple) else []
    if len(sizes) < 2 or not all(isinstance(size, int) and size > 0 for size in sizes[1:]):
        raise UserError(f"input_shape = {given!r} is no shape of a batch: give it as [1, 3, 224, 224]")
    return sizes[1:]


def _floats(i: int, key: str, layer: Mapping[str, Any]) -> Tensor:
    try:
        tensor = torch.tensor(layer[key], dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise UserError(f"layer {i}: {key} is no table of numbers ({error})") from None
    if not bool(tensor.isfinite().all()):
        raise UserError(f"layer {i}: {key} holds a number that is not finite")
    return tensor


def _described(i: int, layer: Any) -> dict[str, Any]:
    """A layer's description, its sizes found from its weights; `UserError`."""
    if not isinstance(layer, Mapping) or "type" not in layer:
        raise UserError(f"layer {i} has no `type`: name linear, conv2d, relu, ...")
    plain = {key: value for key, value in layer.items() if key not in ("weights", "bias")}
    kind = layer["type"]
    if kind not in ("linear", "conv2d"):
        return plain
    if "weights" not in layer:
        raise UserError(f"layer {i} of type {kind!r} has no `weights`")
    shape = list(_floats(i, "weights", layer).shape)
    if len(shape) != (2 if kind == "linear" else 4):
        raise UserError(f"layer {i}: weights of type {kind!r} are {shape}, not {'[O, I]' if kind == 'linear' else '[O, C, h, w]'}")
    bias = layer.get("bias")
    if bias is not None and list(_floats(i, "bias", layer).shape) != shape[:1]:
        raise UserError(f"layer {i}: bias has not one number for each of {shape[0]} outputs")
    sizes = {"in_features": shape[1], "out_features": shape[0]}
    if kind == "conv2d":
        sizes = {"in_channels": shape[1], "out_channels": shape[0], "kernel_size": shape[2:]}  # type: ignore[dict-item]
    return {**plain, **sizes, "use_bias": bias is not None}
