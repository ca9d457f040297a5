"""PyTorch modules as graphs of layers, by torch.fx: the topology is kept, and what has no layer here is refused by name and place."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from pipeline.errors import UserError
from pipeline.models.pentary.network import INPUT, Network

Described = dict[str, Any] | None
ELEMENTWISE: dict[Any, str] = {
    nn.ReLU: "relu", torch.relu: "relu", F.relu: "relu", "relu": "relu", "relu_": "relu",
    nn.Sigmoid: "sigmoid", torch.sigmoid: "sigmoid", "sigmoid": "sigmoid",
    nn.Tanh: "tanh", torch.tanh: "tanh", "tanh": "tanh",
    nn.Identity: "identity", nn.Dropout: "identity", nn.Dropout2d: "identity", F.dropout: "identity", "contiguous": "identity",
}  # fmt: skip
MERGES: dict[Any, str] = {
    operator.add: "add", operator.iadd: "add", torch.add: "add", "add": "add", "add_": "add",
    operator.mul: "multiply", torch.mul: "multiply", "mul": "multiply",
}  # fmt: skip
SHAPES: tuple[Any, ...] = (nn.Flatten, nn.Unflatten, torch.flatten, torch.reshape, "flatten", "view", "reshape", torch.squeeze, "squeeze")
IGNORED: tuple[Any, ...] = ("size", getattr, operator.getitem)
"""What only asks for sizes, which are fixed here."""


def imported(model: nn.Module, input_shape: Sequence[int]) -> Network:
    """The network that a module is when it does not learn, with its weights. input_shape counts the batch, of any size.

    `UserError` names the layer that cannot be converted, and where the module has no graph, or more than one input or output.
    """
    try:
        graph = fx.symbolic_trace(model.eval())
        ShapeProp(graph).propagate(torch.zeros(2, *input_shape[1:]))  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever the module's own code raises
        raise UserError(
            f"the module cannot be followed for an input of {list(input_shape)}: {' '.join(str(error).split())[:200]}"
        ) from None
    modules = dict(graph.named_modules())
    layers: list[dict[str, Any]] = []
    sources: list[nn.Module | None] = []
    names: dict[fx.Node, str] = {}
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            if INPUT in names.values():
                raise UserError(f"the module has a second input {node.name!r}: only one can be converted")
            names[node] = INPUT
        elif node.op == "output":
            if not isinstance(node.args[0], fx.Node) or node.args[0] not in names:
                raise UserError("the module's output is not one tensor: only that can be converted")
            if layers and names[node.args[0]] != layers[-1]["name"]:
                layers.append({"type": "identity", "name": "output", "inputs": [names[node.args[0]]]})
                sources.append(None)
        else:
            module = modules[node.target] if node.op == "call_module" else None
            described = _described(node, module)
            if described is not None:
                names[node] = str(node.target) if module is not None and node.target not in names.values() else node.name
                layers.append({**described, "name": names[node], "inputs": [names[one] for one in _inputs(node)]})
                sources.append(module)
    network = Network(layers)
    for layer, source in zip(network.layers, sources, strict=True):
        if source is not None and layer.state_dict():
            layer.load_state_dict(source.state_dict())
    return network.eval()


def _inputs(node: fx.Node) -> list[fx.Node]:
    """The tensors that a node takes (not the sizes)."""
    return [one for one in node.all_input_nodes if "tensor_meta" in one.meta]


def _described(node: fx.Node, module: nn.Module | None) -> Described:
    """The layer of a node without its name; None for one that makes no tensor."""
    what: Any = type(module) if module is not None else node.target
    if node.op in ("call_function", "call_method") and (what in IGNORED and "tensor_meta" not in node.meta):
        return None
    inputs = _inputs(node)
    if what in ELEMENTWISE and len(inputs) == 1:
        return {"type": ELEMENTWISE[what]}
    shapes = [one.meta["tensor_meta"].shape for one in inputs]
    if what in MERGES and len(inputs) == 2 == len(node.args) and not node.kwargs and shapes[0] == shapes[1]:
        return {"type": MERGES[what]}
    if what in SHAPES and len(inputs) == 1:
        return _reshaped(node)
    if what is torch.cat:
        along = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        return {"type": "concat", "axis": _axis(along, node)}
    if what in (nn.Softmax, torch.softmax, F.softmax, "softmax"):
        axis: Any = module.dim if module is not None else node.kwargs.get("dim", node.args[-1])
        return {"type": "softmax", "axis": _axis(axis, node)}
    found = LAYERS[what](module) if what in LAYERS else None
    if found is None:
        detail = repr(module) if module is not None else f"{node.op} {getattr(what, '__name__', what)}"
        raise UserError(
            f"layer {str(node.target if module is not None else node.name)!r} ({detail[:120]}) cannot be converted: known are {KNOWN}"
        )
    return found


def _axis(axis: Any, node: fx.Node) -> int:
    """An axis counted without the batch."""
    rank = len(node.meta["tensor_meta"].shape)
    if not isinstance(axis, int) or axis % rank == 0:
        raise UserError(f"layer {node.name!r} works along the batch, or along an axis that is not fixed: that cannot be converted")
    return axis % rank - 1


def _reshaped(node: fx.Node) -> Described:
    shape = list(node.meta["tensor_meta"].shape)
    before = list(_inputs(node)[0].meta["tensor_meta"].shape)
    if shape[0] != before[0]:
        raise UserError(f"layer {node.name!r} makes {shape} of {before}, across samples: that cannot be converted")
    return {"type": "flatten"} if len(shape) == 2 else {"type": "reshape", "shape": shape[1:]}


def _convolution(module: Any) -> Described:
    if module.groups != 1 or module.padding_mode != "zeros" or isinstance(module.padding, str):
        return None
    windows = {name: list(getattr(module, name)) for name in ("kernel_size", "stride", "padding", "dilation")}
    sizes = {"in_channels": module.in_channels, "out_channels": module.out_channels}
    return {"type": "conv2d", **sizes, **windows, "use_bias": module.bias is not None}


def _pool(kind: str) -> Callable[[Any], Described]:
    def described(module: Any) -> Described:
        usual = {"ceil_mode": False, "dilation": 1, "return_indices": False, "count_include_pad": True, "divisor_override": None}
        if any(getattr(module, name, value) != value for name, value in usual.items()):
            return None
        return {"type": kind, **{name: _pair(getattr(module, name)) for name in ("kernel_size", "stride", "padding")}}

    return described


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def _norm(module: Any) -> Described:
    if not (module.affine and module.track_running_stats):
        return None
    return {"type": "batchnorm", "num_features": module.num_features, "epsilon": module.eps}


LAYERS: dict[Any, Callable[[Any], Described]] = {
    nn.Linear: lambda m: {"type": "linear", "in_features": m.in_features, "out_features": m.out_features, "use_bias": m.bias is not None},
    nn.Conv2d: _convolution,
    nn.MaxPool2d: _pool("maxpool2d"),
    nn.AvgPool2d: _pool("avgpool2d"),
    nn.AdaptiveAvgPool2d: lambda m: {"type": "globalavgpool2d"} if m.output_size in (1, (1, 1)) else None,
    nn.BatchNorm1d: _norm,
    nn.BatchNorm2d: _norm,
}
KNOWN = "linear, conv2d (one group), pooling, batch norms, relu, sigmoid, tanh, softmax, dropout, flatten, view, add, mul and cat"
