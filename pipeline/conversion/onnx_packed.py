"""ONNX with packed digits, run by onnxruntime: the graph of `onnx`, in which each quantized matrix is computed from bytes and scales.

    table float32 [L^n, n] --Gather(codes uint8 [R, C])--> [R, C, n] --Reshape, Slice--> digits [R, K] --Mul(scale [R, 1])--> matrix [R, K]

Standard operators only. A byte holds n digits of L levels (`digits`): 2.67 bits a weight at five levels. As onnxruntime folds constants
when it opens a file, it computes the matrices once and goes on with floats; with `disabled_optimizers=["ConstantFolding"]` it keeps the
bytes, and decodes them again in each run.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pipeline.conversion import Bounds, Source, digits, onnx_graph, weights
from pipeline.conversion.weights import Matrix
from pipeline.models.base import Model

BOUNDS = Bounds(max_logit_difference=1e-3, kl_divergence=1e-6, greedy_equal=0.9)
WEIGHTS = onnx_graph.WEIGHTS

load = onnx_graph.load


def export(module: Model, source: Source, target: Path) -> None:
    """Write model.onnx, the same bytes on every run, with the tokenizer and the configuration beside it."""
    proto = onnx_graph.trace(module)
    pack(proto.graph, weights.quantized(source.model)[1])
    onnx_graph.write(proto, module, source, target)


def pack(graph: onnx.GraphProto, matrices: Mapping[str, Matrix]) -> None:
    """Put codes and their decoding in place of each initializer that is a matrix or its transpose; `RuntimeError` if one is not found.

    They are known by their values, since the exporter folds transposes and then makes up names.
    """
    dense = {name: matrix.dense().numpy() for name, matrix in matrices.items()}
    names = {_key(array): (name, False) for name, array in dense.items()}
    names |= {_key(array.T): (name, True) for name, array in dense.items() if _key(array.T) not in names}
    folded = {array.tobytes(): name for name, array in dense.items()}
    kept, nodes, found = [], [], set()
    constants: dict[str, np.ndarray] = {}
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        kernels = array.ndim > 2  # of a convolution, a row each, or columns of sparse connections
        name, transposed = (folded.get(array.tobytes(), ""), False) if kernels else names.get(_key(array), ("", False))
        if not name:
            kept.append(tensor)
            continue
        found.add(name)
        kind, inputs = "Transpose" if transposed else "Reshape" if kernels else "Identity", [name]
        if kernels:
            inputs.append(shape := f"shape.{name}")
            constants[shape] = np.array(array.shape, np.int64)
        nodes.append(helper.make_node(kind, inputs, [tensor.name]))
    if missing := sorted(matrices.keys() - found):
        raise RuntimeError(f"the exporter's graph has no initializer that is {missing[0]}")
    decoding = [node for name in sorted(found) for node in _decode(name, matrices[name], constants)]
    nodes = [*decoding, *nodes, *graph.node]
    for field in ("initializer", "node"):
        graph.ClearField(field)
    graph.initializer.extend([*kept, *(numpy_helper.from_array(array, name) for name, array in sorted(constants.items()))])
    graph.node.extend(nodes)


def _key(array: np.ndarray) -> tuple[tuple[int, ...], str, bytes]:
    return array.shape, str(array.dtype), array.tobytes()


def _decode(name: str, matrix: Matrix, constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """Nodes that compute the matrix `name`; what they read is added to `constants`."""
    rows, columns = matrix.digits_RK.shape
    table, codes, scale = f"table.{matrix.levels}", f"{name}.codes", f"{name}.scale"
    constants[table] = digits.table(matrix.levels).astype(np.float32)
    constants[codes] = digits.encode(matrix.digits_RK.numpy(), matrix.levels)
    constants[scale] = matrix.scale_RG.numpy()[:, :, None]

    def sizes(*numbers: int) -> str:
        key = f"sizes.{'.'.join(map(str, numbers))}"
        constants[key] = np.array(numbers, np.int64)
        return key

    filled = constants[codes].shape[1] * digits.per_byte(matrix.levels)
    steps: list[tuple[str, list[str], dict[str, int]]] = [
        ("Cast", [codes], {"to": onnx.TensorProto.INT32}),
        ("Gather", [table, "previous"], {"axis": 0}),
        ("Reshape", ["previous", sizes(rows, filled)], {}),
        ("Slice", ["previous", sizes(0), sizes(columns), sizes(1)], {}),
        ("Reshape", ["previous", sizes(rows, matrix.scale_RG.shape[1], -1)], {}),
        ("Mul", ["previous", scale], {}),
        ("Reshape", ["previous", sizes(rows, columns)], {}),
    ]
    nodes, previous = [], ""
    for number, (kind, inputs, options) in enumerate(steps, 1):
        output = name if number == len(steps) else f"{name}.{number}"
        nodes.append(helper.make_node(kind, [previous if key == "previous" else key for key in inputs], [output], **options))
        previous = output
    return nodes
