"""Where and how training computes: device, threads, determinism, precision of products."""

import contextlib
import os
from collections.abc import Iterator

import torch

from pipeline.errors import UserError
from pipeline.training import cards


def prepare(name: str, threads: int) -> torch.device:
    """The device, with torch set to give the same numbers on every run; raises `UserError` where there is no such device.

    A CUDA device is leased to this process and made torch's current one.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("training.device is cuda, but torch finds no CUDA device on this machine: set it to cpu")
    if name == "cuda":
        torch.cuda.set_device(cards.lease())
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may choose another algorithm on each run
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(threads)
    return torch.device(name)


@contextlib.contextmanager
def products(device: torch.device, precision: str) -> Iterator[None]:
    """The precision of matrix products inside a `with` block; weights, sums and everything else stay float32.

    `bfloat16` is a permission on a CPU: oneDNN takes it where the processor has units for it, and its own float32 kernels elsewhere, which
    on AMD processors are about twice as fast as those that torch takes without it. On CUDA it is autocast.
    """
    if precision != "bfloat16":
        yield
    elif device.type == "cuda":
        with torch.autocast("cuda", torch.bfloat16):
            yield
    else:
        matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
        before = matmul.fp32_precision
        matmul.fp32_precision = "bf16"
        try:
            yield
        finally:
            matmul.fp32_precision = before
