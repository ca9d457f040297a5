"""A step of the associative memory with decay, forwards and backwards, each one native call on a CPU.

    M_t[i] = lambda_i M_{t-1}[i] + eta p_i v,  r = sum_i k_i M_t[i]

Shapes: B rows, K keys, H columns of values.
"""

from torch import Tensor

from pipeline.ops import native


def forward_into(inputs: tuple[Tensor, ...], memory: Tensor, recalled: Tensor) -> None:
    """inputs: M_{t-1} [B, K, H], p [B, K], k [B, K], v [B, H], lambda [K], eta [B]; H a multiple of 16. Results: M_t and r [B, H]."""
    native.call("recall_forward", *inputs, memory, recalled)


def backward_into(inputs: tuple[Tensor, ...], recalled: Tensor, gradients: tuple[Tensor, ...]) -> None:
    """`recalled`: the gradient of r. gradients, in the order of the inputs: that of M_t gives way to that of M_{t-1}, that of lambda is
    added up, the others are written."""
    native.call("recall_backward", *inputs, recalled, *gradients)
