"""Fast operations: schema and shape rule for `torch.library`, a definition in plain torch (`reference`), a native kernel."""

from pipeline.ops.linear import embedding, linear
from pipeline.ops.packing import pack, unpack
from pipeline.ops.reference import bytes_in_row

__all__ = ["bytes_in_row", "embedding", "linear", "pack", "unpack"]
