"""Models of PyTorch and ONNX to the document's JSON or a packed directory, and how far they are from their source."""

from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.apps.pentary import directory, documents, torch_graph
from pipeline.apps.pentary.model import PentaryModel
from pipeline.apps.pentary.quantizer import METHODS, ModelQuantizer
from pipeline.conversion import pentary_onnx
from pipeline.errors import UserError
from pipeline.models.pentary.network import Network, folded

SAMPLES = 32
"""Random inputs by which a converted model is compared with its source."""


class _Converter:
    """Batch norms are folded, then weights quantized: with a scale for each output ("per_channel"), or one a tensor ("per_tensor").

    The document's converters take one a tensor; a scale for each output costs 8 bits a row and is several decibels better.
    """

    def __init__(self, quantization_method: str = "per_channel") -> None:
        if quantization_method not in METHODS:
            raise UserError(f"{type(self).__name__}: quantization_method {quantization_method!r} is none of {', '.join(METHODS)}")
        self.quantizer = ModelQuantizer(quantization_method)

    def _finish(self, network: Network, source: Callable[[Tensor], Tensor], shape: Sequence[int], path: Path) -> dict[str, Any]:
        """Write the network at five levels; returns the report, which a JSON document has too, as `report`."""
        x = torch.randn(SAMPLES, *shape, generator=torch.Generator().manual_seed(0))
        wanted = source(x)
        flat = (
            Network([{"type": "reshape", "shape": list(shape), "name": "input_shape"}, *_after(network.description)])
            if len(shape) > 1
            else network
        )
        if len(shape) > 1:
            for layer, old in zip(list(flat.layers)[1:], network.layers, strict=True):
                layer.load_state_dict(old.state_dict())
        if wanted.dim() > 2:
            flat = _with(flat, {"type": "flatten", "name": "flat_output"})
        plain = folded(flat.eval())
        document = self.quantizer.quantize(plain)
        document |= {"input_dim": prod(shape), "output_dim": prod(wanted.shape[1:])}
        quantized = documents.decode(document, path)
        with torch.no_grad():
            wanted = wanted.flatten(1)
            imported, found = plain(x.flatten(1)), quantized(x.flatten(1))
        report = {
            "input_shape": [1, *shape],
            "layers": len(document["layers"]),
            "weights": sum(parameter.numel() for parameter in plain.quantizable().values()),
            "import_difference": float((imported - wanted).abs().max()),
            "max_difference": float((found - wanted).abs().max()),
            "relative_difference": float((found - wanted).norm() / wanted.norm().clamp_min(1e-30)),
            "same_largest_output": float((found.flatten(1).argmax(1) == wanted.flatten(1).argmax(1)).float().mean()),
        }
        if path.suffix == ".json":
            documents.write(path, {**document, "report": report})
        else:
            model = PentaryModel(prod(shape), prod(wanted.shape[1:]), layers=quantized.description)
            model.replace(quantized, document["input_dim"], document["output_dim"], document["hidden_dims"])
            directory.save(model, path)
        return report


def _with(network: Network, layer: dict[str, Any]) -> Network:
    """A network with one more layer without weights at its end."""
    result = Network([*network.description, layer])
    result.load_state_dict(network.state_dict())
    return result


def _after(description: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Layers that read a reshaped input in place of the input."""
    return [{**layer, "inputs": ["input_shape" if one == "input" else one for one in layer["inputs"]]} for layer in description]


class PyTorchToPentaryConverter(_Converter):
    """Modules of PyTorch (`torch_graph` says which layers)."""

    def convert(self, pytorch_model: nn.Module, output_path: str | Path, input_shape: Sequence[int] | None = None) -> dict[str, Any]:
        """Write a module as five-level JSON (a path that ends in .json) or as a packed directory; returns how well that went.

        input_shape counts the batch; without it the first linear layer's is taken. Keys: `input_shape`, `layers`, `weights` (quantized);
        on normal random inputs `import_difference`, the largest of any output between the source and the float network here, and
        `max_difference`, `relative_difference` (norms) and `same_largest_output` (share) between the source and the five levels.
        `UserError` as `torch_graph.imported`.
        """
        if not isinstance(pytorch_model, nn.Module):
            raise UserError(f"the model is a {type(pytorch_model).__name__}, not a torch module: build it and load its weights into it")
        if input_shape is None:
            first = next((module for module in pytorch_model.modules() if isinstance(module, nn.Linear | nn.Conv2d)), None)
            if not isinstance(first, nn.Linear):
                raise UserError("input_shape is needed where a module does not begin with a linear layer: say as (1, 3, 224, 224)")
            input_shape = (1, first.in_features)
        network = torch_graph.imported(pytorch_model, input_shape)
        with torch.no_grad():
            return self._finish(network, pytorch_model.eval(), list(input_shape[1:]), Path(output_path))


class ONNXToPentaryConverter(_Converter):
    """Models of ONNX (`pipeline.conversion.pentary_onnx` says which operations)."""

    def convert(self, onnx_path: str | Path, output_path: str | Path, input_shape: Sequence[int] | None = None) -> dict[str, Any]:
        """The same for an ONNX file, whose source is run by onnxruntime; input_shape where the file leaves more than the batch open."""
        path = Path(onnx_path)
        network, shape = pentary_onnx.read(path, input_shape)
        return self._finish(network, lambda x: pentary_onnx.run(path, x), shape, Path(output_path))
