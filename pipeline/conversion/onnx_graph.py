"""A model's ONNX graph (see `graphs`): traced, without traces of where, written and run; what formats put into it is theirs."""

import contextlib
import functools
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import Tensor

from pipeline import io
from pipeline.conversion import Source, graphs
from pipeline.models.base import Model

OPSET = 20
WEIGHTS = "model.onnx"


def write(proto: onnx.ModelProto, module: Model, source: Source, target: Path) -> None:
    """Check the graph and write model.onnx, with the tokenizer and the configuration beside it."""
    proto.producer_name, proto.producer_version = "quintet", ""
    onnx.helper.set_model_props(proto, {"context": str(module.context)})
    onnx.checker.check_model(proto, full_check=True)
    io.write_bytes(target / WEIGHTS, proto.SerializeToString(deterministic=True))
    io.write_json(target / "config.json", module.config)
    source.copy_tokenizer(target)


def trace(module: Model) -> onnx.ModelProto:
    """The graph with float32 weights, the same bytes on every run."""
    return onnx.load_from_string(_traced(module))


@functools.lru_cache(maxsize=1)
def _traced(module: Model) -> bytes:
    """Several formats begin with the same graph, which takes seconds to trace."""
    adapter = graphs.adapter(module.config)
    example, axes, (inputs, outputs) = adapter.example(module), adapter.dynamic(module), adapter.names(module)
    with warnings.catch_warnings(), _quiet("torch.onnx"), adapter.graph(module) as graph:
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            example,
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=axes,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    strip(proto)
    return bytes(proto.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a logger's warnings (here about operators of packages that are not installed) off the screen."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def strip(message: Any) -> None:
    """Remove, at every depth, what depends on where and with which version the export ran: stack traces, doc strings, other metadata."""
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props", "value_info"):
            message.ClearField(field.name)
        elif field.type == field.TYPE_MESSAGE:
            for part in value if field.is_repeated else (value,):
                strip(part)


def load(folder: Path) -> Model:
    """model.onnx in onnxruntime, on one thread so that its bits repeat."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    session = onnxruntime.InferenceSession(folder / WEIGHTS, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(*inputs: Tensor) -> list[Tensor]:
        arrays = dict(zip(names, (tensor.numpy() for tensor in inputs), strict=True))
        return [torch.from_numpy(array) for array in session.run(None, arrays)]

    config = io.read_json(folder / "config.json")
    return graphs.adapter(config).exported(config, run)
