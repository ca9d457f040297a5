"""ONNX with float32 weights, run by onnxruntime: one graph for reading a prompt and for decoding, its cache as inputs and outputs."""

from pathlib import Path

from pipeline.conversion import Bounds, Source, onnx_graph
from pipeline.models.base import Model

BOUNDS = Bounds(max_logit_difference=1e-3, kl_divergence=1e-6, greedy_equal=0.9)
WEIGHTS = onnx_graph.WEIGHTS

load = onnx_graph.load


def export(module: Model, source: Source, target: Path) -> None:
    """Write model.onnx, the same bytes on every run, with the tokenizer and the configuration beside it."""
    onnx_graph.write(onnx_graph.trace(module), module, source, target)
