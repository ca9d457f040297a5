"""What the loss feels of a matrix's errors, and rows that make up for each other's.

An error e in a matrix's outputs [R] costs about e^T G e, where G is the second moment of the loss's gradient there: of the loss on tokens
that the model itself predicts, so that this is the Fisher information, and no labels are used. With the moment H of the inputs, an error E
of the matrix costs tr(G E H E^T) (K-FAC's factors: Martens & Grosse 2015, arXiv:1503.05671; rounding for both: YAQA, Tseng et al. 2025,
arXiv:2505.22988). Rows are rounded some at a time, and those to come make up for their errors, as columns do in `rounding.feedback`.
Shapes: R rows, K columns, N positions; B blocks of S rows, the last filled up with zeros, outside of which rows have nothing to do with
each other: that bounds memory and time.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import rng
from pipeline.models.base import Model
from pipeline.quantization.ptq.calibration import linears
from pipeline.quantization.ptq.threads import give_back_memory

BLOCK = 128
"""Rows at most that make up for each other."""
TURNS = 8
"""Turns in which the rows of a block are rounded."""
TOKENS = 8192
"""Tokens at most that gradients are found for: they take a run backwards through the whole model."""
AT_ONCE = 256
"""Tokens, or one sequence, that it runs for at a time: what is kept for the way back is large."""


class Felt(NamedTuple):
    """What `across` needs of a gradient's moments."""

    order_BS: Tensor
    """The rows of each block, counted from its first, as they are rounded: those felt most first."""
    upper_BSS: Tensor
    """U in that order, where U^T U is the inverse of the damped moment."""


def gradients(module: Model, batches: Sequence[Tensor]) -> dict[Tensor, Tensor]:
    """The sums [B, S, S] of g^T g over positions, by the linear maps' weights; g [N, R] is the gradient of -log p(y), y drawn from p."""
    stream = rng.generator(0, "ptq", "outputs")
    sums: dict[Tensor, Tensor] = {}
    outputs: list[tuple[Tensor, Tensor]] = []

    def note(child: Any, arguments: Any, output: Tensor) -> None:
        outputs.append((child.weight, output))

    def seen(child: Any, arguments: Any) -> None:
        """There so that the layer is called at every step (`models.base.runs_fused`)."""

    children = linears(module).values()
    handles = [handle for child in children for handle in (child.register_forward_hook(note), child.register_forward_pre_hook(seen))]
    for tokens_BT in few(batches):
        with torch.enable_grad():
            logits = module(tokens_BT)[0].flatten(0, -2)
            drawn = torch.multinomial(logits.detach().float().softmax(-1), 1, generator=stream)[:, 0]
            loss = F.cross_entropy(logits, drawn, reduction="sum")
        found = torch.autograd.grad(loss, [output for _, output in outputs], allow_unused=True)
        for (weight, output), gradient in zip(outputs, found, strict=True):
            g_BNS = in_blocks((torch.zeros_like(output) if gradient is None else gradient).flatten(0, -2).float().T).mT
            sums[weight] = g_BNS.mT @ g_BNS + sums.get(weight, 0)
        outputs.clear()
    for handle in handles:
        handle.remove()
    give_back_memory()
    return sums


def few(batches: Sequence[Tensor]) -> Sequence[Tensor]:
    """The first of the batches' sequences, a few at a time; what is not of tokens, as an image, counts as one."""
    length = 1 if batches[0].is_floating_point() else batches[0][0].numel()
    return torch.cat(list(batches))[: max(1, TOKENS // length)].split(max(1, AT_ONCE // length))


def in_blocks(rows_RN: Tensor) -> Tensor:
    """Rows [B, S, N], with zeros in the place of those that the last block lacks."""
    blocks = -(-len(rows_RN) // BLOCK)
    size = -(-len(rows_RN) // max(1, blocks))
    return F.pad(rows_RN, (0, 0, 0, blocks * size - len(rows_RN))).unflatten(0, (blocks, size))


def prepare(moment_BSS: Tensor, damping: float) -> Felt:
    """`damping` as a share of each block's mean diagonal."""
    diagonal_BS = moment_BSS.diagonal(dim1=1, dim2=2)
    order_BS = diagonal_BS.argsort(dim=1, descending=True, stable=True)
    moment = moment_BSS.double().gather(1, order_BS[:, :, None].expand_as(moment_BSS)).gather(2, order_BS[:, None].expand_as(moment_BSS))
    moment.diagonal(dim1=1, dim2=2).add_(damping * diagonal_BS.double().mean(1, keepdim=True).clamp_min(1e-30))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moment))
    return Felt(order_BS, torch.linalg.cholesky(inverse, upper=True).to(moment_BSS.dtype))


Rounding = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Digits and scales of rows from their weights and their first scales."""


def across(weight_RK: Tensor, first_R: Tensor, felt: Felt, some: Rounding) -> tuple[Tensor, Tensor]:
    """Digits [R, K] and scales [R] of a whole matrix by `some` of its rows after the other, of every block at once."""
    columns, (blocks, size) = weight_RK.shape[1], felt.order_BS.shape
    rows_BSK = felt.order_BS[:, :, None].expand(-1, -1, columns)
    rest_BSK = in_blocks(weight_RK).gather(1, rows_BSK)
    first_BS = in_blocks(first_R[:, None])[..., 0].clamp_min(torch.finfo(torch.bfloat16).tiny).gather(1, felt.order_BS)
    digits_BSK, scale_BS, upper = torch.zeros_like(rest_BSK, dtype=torch.int8), torch.zeros_like(first_BS), felt.upper_BSS
    step = -(-size // TURNS)
    for start in range(0, size, step):
        now, later = slice(start, start + step), slice(start + step, size)
        digits, scale = some(rest_BSK[:, now].flatten(0, 1), first_BS[:, now].flatten())
        digits_BSK[:, now], scale_BS[:, now] = digits.unflatten(0, (blocks, -1)), scale.unflatten(0, (blocks, -1))
        error = rest_BSK[:, now] - digits_BSK[:, now] * scale_BS[:, now, None]
        error = torch.linalg.solve_triangular(upper[:, now, now].mT, error, upper=False)
        rest_BSK[:, later].baddbmm_(upper[:, now, later].mT, error, alpha=-1)
    digits = torch.empty_like(digits_BSK).scatter_(1, rows_BSK, digits_BSK)
    scales = torch.empty_like(scale_BS).scatter_(1, felt.order_BS, scale_BS)
    return digits.flatten(0, 1)[: len(weight_RK)].contiguous(), scales.flatten()[: len(weight_RK)]
