"""ONNX, run by onnxruntime: one graph for reading a prompt and for decoding, with the key and value cache as explicit inputs and outputs.

    tokens [batch, sequence], past_keys and past_values [layers, batch, heads, past, channels]
        -> logits [batch, sequence, vocabulary], keys and values [layers, batch, heads, past + sequence, channels]

`past` may be 0. The exporter fails for lengths other than its example's if that is 1, so the example is longer.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.export import Dim

from pipeline import io
from pipeline.conversion import Bounds, Source
from pipeline.models.base import Model

State = tuple[np.ndarray, np.ndarray]

OPSET = 20
BOUNDS = Bounds(max_logit_difference=1e-3, kl_divergence=1e-6, greedy_equal=0.9)
WEIGHTS = "model.onnx"
INPUTS, OUTPUTS = ("tokens", "past_keys", "past_values"), ("logits", "keys", "values")


class GrowingCache:
    """The transformer's cache for tracing: tensors that grow by concatenation, where its own writes in place."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = list(keys), list(values)
        self.used, self.room = keys.shape[3], 1 << 62

    def extend(self, layer: int, k_BHTK: Tensor, v_BHTK: Tensor) -> tuple[Tensor, Tensor]:
        self.keys[layer] = torch.cat((self.keys[layer], k_BHTK), 2)
        self.values[layer] = torch.cat((self.values[layer], v_BHTK), 2)
        return self.keys[layer], self.values[layer]


class Graph(nn.Module):
    """The function that is exported."""

    def __init__(self, module: Model) -> None:
        super().__init__()
        self.module = module

    def forward(self, tokens: Tensor, past_keys: Tensor, past_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        cache = GrowingCache(past_keys, past_values)
        logits, _ = self.module(tokens, cache)
        return logits, torch.stack(cache.keys), torch.stack(cache.values)


def export(module: Model, source: Source, target: Path) -> None:
    """Write model.onnx, the same bytes on every run, with the tokenizer and the configuration beside it."""
    proto = _trace(module)
    strip(proto)
    proto.producer_name, proto.producer_version = "quintet", ""
    onnx.helper.set_model_props(proto, {"context": str(module.context)})
    onnx.checker.check_model(proto, full_check=True)
    io.write_bytes(target / WEIGHTS, proto.SerializeToString(deterministic=True))
    io.write_json(target / "config.json", module.config)
    source.copy_tokenizer(target)


def _trace(module: Model) -> onnx.ModelProto:
    config, context = module.config, module.context
    past = torch.zeros(config["num_hidden_layers"], 2, config["num_key_value_heads"], 3, config["head_dim"])
    batch, sequence, length = Dim("batch"), Dim("sequence", max=context), Dim("past", max=context)
    growing = {1: batch, 3: length}
    module.context = 1 << 62  # else the module's own check of positions becomes a relation between two axes, which the exporter refuses
    try:
        with warnings.catch_warnings(), _quiet("torch.onnx"):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                Graph(module).eval(),
                (torch.zeros(2, 4, dtype=torch.int64), past, past.clone()),
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                input_names=list(INPUTS),
                output_names=list(OUTPUTS),
                dynamic_shapes=({0: batch, 1: sequence}, growing, growing),
                verbose=False,
            )
    finally:
        module.context = context
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    return proto


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


class OnnxModel(Model):
    """model.onnx behind the protocol of `pipeline.models`, on one thread so that its bits repeat; the state is the pair of cache arrays."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.context = int(self.session.get_modelmeta().custom_metadata_map["context"])

    def forward(self, tokens_BT: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits and the grown state; `ValueError` where positions run past the context."""
        past = state or self.initial_state(len(tokens_BT))
        if past[0].shape[3] + tokens_BT.shape[1] > self.context:
            # the graph itself would take positions that it has no rotation for
            raise ValueError(f"{past[0].shape[3]} + {tokens_BT.shape[1]} tokens do not fit the context ({self.context})")
        logits, keys, values = self.session.run(OUTPUTS, dict(zip(INPUTS, (tokens_BT.numpy(), *past), strict=True)))
        return torch.from_numpy(logits), (keys, values)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def initial_state(self, batch_size: int, length: int | None = None) -> State:
        """A past of no tokens; it grows, so `length` is not needed."""
        layers, _, heads, _, channels = self.session.get_inputs()[1].shape
        empty = np.zeros((layers, batch_size, heads, 0, channels), np.float32)
        return empty, empty


def load(folder: Path) -> OnnxModel:
    """The exported model in onnxruntime."""
    return OnnxModel(folder / WEIGHTS)
