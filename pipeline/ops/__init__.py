"""Fast operations: schema and shape rule for `torch.library`, a definition in plain torch (`reference`), a native kernel."""

from pipeline.ops import cuda_linear as _cuda_linear  # noqa: F401  (registers its operations)
from pipeline.ops import cuda_recurrent as _cuda_recurrent  # noqa: F401  (registers its operations)
from pipeline.ops.convolution import conv2d
from pipeline.ops.linear import best_form, embedding, linear, tile, untile
from pipeline.ops.packing import pack, unpack
from pipeline.ops.prepared_recurrent import Layer, PreparedRun
from pipeline.ops.recurrent import nobody_between, recurrent_run, recurrent_vjp
from pipeline.ops.reference import bytes_in_row
from pipeline.ops.spiking import silent_state, spiking_run

__all__ = [
    "Layer",
    "PreparedRun",
    "best_form",
    "bytes_in_row",
    "conv2d",
    "embedding",
    "linear",
    "nobody_between",
    "pack",
    "recurrent_run",
    "recurrent_vjp",
    "silent_state",
    "spiking_run",
    "tile",
    "unpack",
    "untile",
]
