"""ONNX models as graphs of layers (`pipeline.models.pentary`): the topology is kept, and what has no layer here is refused by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.models.pentary.network import INPUT, Network

Array = npt.NDArray[Any]
SIMPLE = {
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Identity": "identity",
    "Dropout": "identity",
    "GlobalAveragePool": "globalavgpool2d",
}
MERGES = {"Add": "add", "Mul": "multiply", "Concat": "concat"}


def read(path: Path, input_shape: Sequence[int] | None = None) -> tuple[Network, list[int]]:
    """The network of a file and the shape of one sample; `UserError` names the operation that cannot be converted, or what is damaged.

    input_shape, with the batch, is needed only where the file leaves open more than the batch.
    """
    graph = _graph(path)
    reader = _Reader(graph, path, input_shape)
    for node in graph.node:
        reader.add(node)
    return reader.network(graph.output[0].name), reader.shape


def run(path: Path, x: Tensor) -> Tensor:
    """What onnxruntime computes, sample by sample where the file fixes the batch."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    parts = [x] if not isinstance(source.shape[0], int) else x.split(source.shape[0])
    return torch.cat([torch.from_numpy(session.run(None, {source.name: part.numpy()})[0]) for part in parts])


def _graph(path: Path) -> Any:
    import onnx

    try:
        model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: name an ONNX file") from None
    except Exception as error:  # protobuf's and onnx's own
        raise UserError(f"{path} is not an ONNX model ({' '.join(str(error).split())[:120]}): export it again") from None
    return model.graph


class _Reader:
    """Nodes to layers, one after another."""

    def __init__(self, graph: Any, path: Path, input_shape: Sequence[int] | None) -> None:
        from onnx import numpy_helper

        self.path = path
        self.constants: dict[str, Array] = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        inputs = [each for each in graph.input if each.name not in self.constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise UserError(f"{path} has {len(inputs)} inputs and {len(graph.output)} outputs: only one each can be converted")
        sizes = [each.dim_value for each in inputs[0].type.tensor_type.shape.dim]
        if input_shape is not None:
            sizes = list(input_shape)
        if len(sizes) < 2 or min(sizes[1:]) < 1:
            raise UserError(f"{path} leaves the input's shape open ({sizes}): say input_shape")
        self.shape = [int(size) for size in sizes[1:]]
        self.layers: list[dict[str, Any]] = []
        self.states: dict[str, dict[str, Tensor]] = {}
        self.names: dict[str, str] = {inputs[0].name: INPUT}
        self.ranks = {each.name: len(each.type.tensor_type.shape.dim) for each in (*graph.value_info, *graph.output, *graph.input)}

    def add(self, node: Any) -> None:
        """Take one node into the graph; `UserError` names it where it cannot be."""
        from onnx import helper, numpy_helper

        options = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type == "Constant" and "value" in options:
            self.constants[node.output[0]] = numpy_helper.to_array(options["value"])
            return
        if self._is_bias(node):
            return
        described = self._described(node, options)
        if described is None:
            raise self._refusal(node)
        layer, state = described
        inputs = [self.names[name] for name in node.input if name in self.names]
        name = node.name or node.output[0]
        if name in self.names.values():
            name = node.output[0]
        self.layers.append({**layer, "name": name, "inputs": inputs})
        self.states[name] = state
        self.names[node.output[0]] = name

    def network(self, output: str) -> Network:
        """The finished network, which ends with the file's output."""
        if output not in self.names:
            raise UserError(f"{self.path}: its output {output!r} is a constant: there is nothing to convert")
        if not self.layers or self.layers[-1]["name"] != self.names[output]:
            self.layers.append({"type": "identity", "name": "output", "inputs": [self.names[output]]})
        network = Network(self.layers)
        for layer, module in zip(network.description, network.layers, strict=True):
            module.load_state_dict(self.states.get(layer["name"], {}), strict=False)
        return network.eval()

    def _refusal(self, node: Any) -> UserError:
        known = (
            "Gemm, MatMul, Conv (one group), BatchNormalization, pooling, Reshape, Flatten, Softmax, Relu, Sigmoid, Tanh, Add, Mul, Concat"
        )
        return UserError(
            f"{self.path}: operation {node.name or node.output[0]!r} of type {node.op_type} cannot be converted: known are {known}"
        )

    def _is_bias(self, node: Any) -> bool:
        """Whether this adds a vector to a product that has no bias yet and that nothing else reads: then it became its bias."""
        vectors = [name for name in node.input if name in self.constants]
        others = [name for name in node.input if name in self.names]
        if node.op_type != "Add" or len(vectors) != 1 or len(others) != 1 or not self.layers:
            return False
        layer, bias = self.layers[-1], self.constants[vectors[0]].squeeze()
        if (
            layer["name"] != self.names[others[0]]
            or layer["type"] != "linear"
            or layer["use_bias"]
            or bias.shape != (layer["out_features"],)
        ):
            return False
        layer["use_bias"] = True
        self.states[layer["name"]]["bias"] = torch.tensor(bias)
        self.names[node.output[0]] = layer["name"]
        return True

    def _described(self, node: Any, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        kind = node.op_type
        tensors = [name for name in node.input if name in self.names]
        constants = [self.constants[name] for name in node.input if name in self.constants]
        if kind in SIMPLE:
            return {"type": SIMPLE[kind]}, {}
        if kind in MERGES and len(tensors) == len(node.input):
            return (
                {"type": "concat", "axis": self._axis(node, options.get("axis", 0))} if kind == "Concat" else {"type": MERGES[kind]}
            ), {}
        if kind == "Softmax":
            return {"type": "softmax", "axis": self._axis(node, options.get("axis", -1))}, {}
        if kind in ("Gemm", "MatMul"):
            return _linear(kind, options, constants)
        if kind == "Conv":
            return _convolution(options, constants)
        if kind == "BatchNormalization" and len(constants) == 4:
            names = ("weight", "bias", "running_mean", "running_var")
            state = {name: torch.tensor(value) for name, value in zip(names, constants, strict=True)}
            return {"type": "batchnorm", "num_features": len(constants[0]), "epsilon": options.get("epsilon", 1e-5)}, state
        if kind in ("MaxPool", "AveragePool"):
            return _pool("maxpool2d" if kind == "MaxPool" else "avgpool2d", options)
        if kind == "ReduceMean" and options.get("keepdims", 1) and self.ranks.get(node.input[0]) == 4:
            axes = [int(axis) % 4 for axis in options.get("axes", constants[0] if constants else [])]
            return ({"type": "globalavgpool2d"}, {}) if sorted(axes) == [2, 3] else None
        if kind in ("Flatten", "Reshape"):
            return self._reshape(kind, options, constants)
        return None

    def _axis(self, node: Any, axis: int) -> int:
        rank = self.ranks.get(node.output[0]) or self.ranks.get(node.input[0]) or 2
        if axis % rank == 0:
            raise UserError(f"{self.path}: operation {node.name or node.output[0]!r} works along the batch: that cannot be converted")
        return axis % rank - 1

    def _reshape(self, kind: str, options: dict[str, Any], constants: list[Array]) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        if kind == "Flatten":
            return ({"type": "flatten"}, {}) if options.get("axis", 1) == 1 else None
        if len(constants) != 1:
            return None
        sizes = [int(size) for size in constants[0]]
        if len(sizes) == 2 and (sizes[1] == -1 or sizes[0] in (0, -1, 1)):
            return {"type": "flatten"}, {}
        return ({"type": "reshape", "shape": sizes[1:]}, {}) if sizes[0] in (0, -1) and min(sizes[1:], default=0) > 0 else None


def _linear(kind: str, options: dict[str, Any], constants: list[Array]) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    plain = options.get("alpha", 1.0) == 1.0 == options.get("beta", 1.0) and not options.get("transA", 0)
    if not plain or not constants or constants[0].ndim != 2 or len(constants) > 2:
        return None
    weight = torch.tensor(constants[0] if options.get("transB", 0) else constants[0].T.copy())
    state = {"weight": weight}
    if len(constants) == 2:
        if constants[1].size != len(weight):
            return None
        state["bias"] = torch.tensor(constants[1].reshape(-1))
    return {"type": "linear", "in_features": weight.shape[1], "out_features": len(weight), "use_bias": "bias" in state}, state


def _windows(options: dict[str, Any]) -> dict[str, list[int]] | None:
    """Kernel, stride and padding of a two-dimensional window; None where the padding is not the same on both sides, or is not fixed."""
    pads = list(options.get("pads", [0, 0, 0, 0]))
    if options.get("auto_pad", b"NOTSET") != b"NOTSET" or len(pads) != 4 or pads[:2] != pads[2:] or options.get("ceil_mode", 0):
        return None
    return {"stride": list(options.get("strides", [1, 1])), "padding": pads[:2]}


def _convolution(options: dict[str, Any], constants: list[Array]) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    windows = _windows(options)
    if windows is None or not constants or constants[0].ndim != 4 or options.get("group", 1) != 1:
        return None
    weight = torch.tensor(constants[0])
    state = {"weight": weight} | ({"bias": torch.tensor(constants[1])} if len(constants) == 2 else {})
    sizes = {"in_channels": weight.shape[1], "out_channels": len(weight), "kernel_size": list(weight.shape[2:])}
    dilation = list(options.get("dilations", [1, 1]))
    return {"type": "conv2d", **sizes, **windows, "dilation": dilation, "use_bias": "bias" in state}, state


def _pool(kind: str, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    windows = _windows(options)
    padded = windows is not None and any(windows["padding"])
    if windows is None or len(options["kernel_shape"]) != 2 or set(options.get("dilations", [1])) != {1}:
        return None
    if kind == "avgpool2d" and padded and not options.get("count_include_pad", 0):
        return None
    return {"type": kind, "kernel_size": list(options["kernel_shape"]), **windows}, {}
