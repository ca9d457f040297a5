"""Models as files: the document's JSON, which any program reads, and a directory of packed safetensors, which is the real format.

    {"input_dim", "output_dim", "hidden_dims", "layers": [{"type": "linear", "in_features", "out_features", "use_bias", "weight_pentary",
     "bias_pentary", "weight_scale", "bias_scale"}, {"type": "relu"}, ...]}

The document's own reader computes `x @ weight_pentary.T * weight_scale + bias_pentary * bias_scale` with NumPy, so that a list of scales,
one a row, is right there too. It shows biases at five levels; here a bias is whole numbers of 24 bits times its scale, which that reader
takes as well and which costs no accuracy (`bias_levels=5` gives the document's). Other layers have the keys of
`pipeline.models.pentary.layers`, and `name` and `inputs` where they do not simply follow each other; a fusion of modalities is beside
`layers`, under `fusion`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline import io
from pipeline.errors import UserError
from pipeline.models.pentary.layers import Layer
from pipeline.models.pentary.network import Network, wired
from pipeline.quantization.modules import PackedMatrix

BIAS_TOP = (1 << 23) - 1
"""The largest whole number of a bias: float32 holds them all."""
WRITTEN = ("weight_pentary", "bias_pentary", "weight_scale", "bias_scale")


def encode(network: Network, matrices: Mapping[str, PackedMatrix], head: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a plain network (`PentaryModel.packed`); `head` has input_dim, output_dim and hidden_dims."""
    usual = wired([{k: v for k, v in layer.items() if k not in ("name", "inputs")} for layer in network.description])
    layers = []
    for i, (layer, module) in enumerate(zip(network.description, network.layers, strict=True)):
        shown = dict(layer) if layer != usual[i] else {k: v for k, v in layer.items() if k not in ("name", "inputs")}
        matrix = matrices.get(f"layers.{i}.weight") or matrices.get(f"layers.{i}.embedding.weight")
        layers.append(shown | (encoded(matrix, module) if matrix else {k: v.tolist() for k, v in module.state_dict().items()}))
    return {**head, "layers": layers}


def encoded(matrix: PackedMatrix, module: nn.Module) -> dict[str, Any]:
    """Weight and bias of a layer under the document's keys."""
    shape = next(p for p in module.parameters() if p.dim() > 1).shape
    bias, scale = whole(getattr(module, "bias", None))
    weight = {"weight_pentary": matrix.digits().view(shape).tolist(), "weight_scale": matrix.scale.float().tolist()}
    return {**weight, "bias_pentary": bias, "bias_scale": scale}


def whole(bias: Tensor | None) -> tuple[list[int] | None, float | None]:
    """A bias as whole numbers and their scale: digits where it has no more than five evenly spaced levels, else 24 bits."""
    if bias is None:
        return None, None
    values = bias.detach().double()
    sizes = values.abs().unique()
    least = float(sizes[sizes > 0].min()) if bool((sizes > 0).any()) else 1.0
    digits = values / least
    if bool((digits == digits.round()).all()) and float(digits.abs().max()) <= 2:
        return digits.int().tolist(), least
    scale = float(values.abs().max()) / BIAS_TOP
    return (values / scale).round().long().tolist(), scale


def decode(document: Any, path: Path) -> Network:
    """The network that a document describes, with plain weights; `UserError` names the layer where it describes none."""
    if not isinstance(document, dict) or not isinstance(document.get("layers"), list):
        raise UserError(f"{path} is not a Pentary model: it needs the keys input_dim, output_dim, hidden_dims and layers")
    for key in ("input_dim", "output_dim", "hidden_dims"):
        if key not in document:
            raise UserError(f"{path} has no key {key!r}: save the model again")
    try:
        with torch.device("meta"):  # sizes take memory only once the file is found to have as many numbers
            network = Network([_described(layer) for layer in document["layers"]])
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise UserError(f"{path} describes no network that can be built ({error}): save the model again") from None
    for layer, written, module in zip(network.description, document["layers"], network.layers, strict=True):
        try:
            _fill(module, written)
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise UserError(
                f"{path}: layer {layer['name']!r} of type {layer['type']!r} is damaged ({error}): save the model again"
            ) from None
    return network.eval()


def _described(layer: Any) -> Layer:
    if not isinstance(layer, dict):
        raise ValueError(f"{str(layer)[:40]!r} is no layer")
    return {key: value for key, value in layer.items() if key not in WRITTEN}


@torch.no_grad()
def _fill(module: nn.Module, written: Mapping[str, Any]) -> None:
    state = module.state_dict()
    if "weight_pentary" not in written:
        module.load_state_dict({name: _numbers(written[name], tensor.shape) for name, tensor in state.items()}, assign=True)
        return
    name = next(name for name, tensor in state.items() if tensor.dim() > 1)
    digits = _numbers(written["weight_pentary"], state[name].shape)
    if not bool(((digits == digits.round()) & (digits.abs() <= 2)).all()):
        raise ValueError("weight_pentary holds numbers that are not -2, -1, 0, 1 or 2")
    scale = torch.tensor(written["weight_scale"], dtype=torch.float32)
    if scale.shape not in ((), digits.shape[:1]) or not bool(scale.isfinite().all()):
        raise ValueError("weight_scale is not a finite number, or one for each output")
    state[name] = digits * scale.view(-1, *[1] * (digits.dim() - 1))
    if "bias" in state:
        numbers = torch.tensor(written["bias_pentary"] or [0] * len(digits), dtype=torch.float64)
        state["bias"] = (numbers * float(written["bias_scale"] or 0.0)).float().view(state["bias"].shape)
    if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
        raise ValueError("a number is not finite")
    module.load_state_dict(state, assign=True)


def _numbers(value: Any, shape: torch.Size) -> Tensor:
    tensor = torch.tensor(value, dtype=torch.float32)
    if tensor.shape != shape:
        raise ValueError(f"{list(tensor.shape)} numbers where {list(shape)} are asked for")
    return tensor


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document whole or not at all, a layer a line; `ValueError` for numbers that JSON cannot hold."""
    head = {key: value for key, value in document.items() if key != "layers"}
    lines = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)},\n" for key, value in head.items()]
    layers = ",\n".join(json.dumps(layer, separators=(",", ":"), allow_nan=False) for layer in document["layers"])
    io.write_bytes(path, f'{{{"".join(lines)}"layers": [\n{layers}\n]}}\n'.encode())


def read(path: Path) -> Any:
    """The JSON of a file; `UserError` where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: name a file that save_model wrote") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): save the model again") from None
