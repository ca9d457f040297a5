"""The recurrent run on CUDA: cut into spans of steps, each of which one launch takes forward and one backward.

The weight's gradient is one product of torch's over all steps and rows of a span, so `torch.backends.cuda.matmul` decides its precision.
Shapes: B rows, N neurons, P columns (N rounded up to the kernels' tiles, the others zero), T steps, K steps of a span, S frames, I inputs.
"""

from typing import Any

import torch
from torch import Tensor

from pipeline.ops import native
from pipeline.ops.recurrent import Outputs, numbers_of, outputs_of, padded

KEEPS_SUMS = ("gelu", "silu")
"""Activations whose value does not tell their slope: for them s is kept, not d."""


class _Run:
    """A run's arguments, and its kernels' calls."""

    def __init__(self, inputs: tuple[Any, ...], scales: Tensor) -> None:
        weight, _, _, state, drive, places = inputs[:6]
        self.device = next(tensor.device for tensor in inputs[:5] if tensor is not None and tensor.is_cuda)
        self.numbers, self.scales = numbers_of(*inputs[6:11]), scales
        self.steps, _, _, _, self.segment, self.keeps = inputs[7]
        self.sums = inputs[8] in KEEPS_SUMS
        self.drive, self.batch, self.columns = drive, drive.shape[0], padded(weight.shape[0])
        order, first = (None, None) if places is None else _order_of(places, drive.shape[2], weight.shape[0])
        self.given = native.handles(*inputs[:3], state, drive, order, first)
        self.partials = drive.new_empty(self.batch * self.columns // 8)

    def slots(self, count: int, flat: Tensor | None = None) -> Tensor:
        """`count` steps' neurons [count, B, P]: a view of what is kept, or new."""
        shape = count, self.batch, self.columns
        if flat is None:
            return self.drive.new_empty(shape)
        if flat.numel() != count * self.batch * self.columns:
            raise ValueError(f"values must have size {count * self.batch * self.columns} in dimension 0, not {flat.numel()}")
        return flat.view(shape)

    def spans(self) -> list[tuple[int, int]]:
        length = self.segment if self.segment and self.keeps else self.steps
        return [(start, min(start + length, self.steps)) for start in range(0, self.steps, length)]

    def forward(self, span: tuple[int, int], before: Tensor | None, values: Tensor, sums: Tensor | None, *outputs: Tensor | None) -> None:
        part = native.handles(*span, before, self.scales, self.partials)
        native.call_cuda("recurrent_forward", self.device, self.given, self.numbers, part, values, sums, *outputs)

    def backward(self, span: tuple[int, int], before: Tensor | None, transposed: Tensor, kept: Tensor, *gradients: Tensor | None) -> None:
        part = native.handles(*span, before, self.scales, self.partials)
        native.call_cuda("recurrent_backward", self.device, self.given, self.numbers, part, transposed, kept, native.handles(*gradients))


def _order_of(places: Tensor, inputs: int, neurons: int) -> tuple[Tensor, Tensor]:
    """The inputs sorted by their neuron [I], and where each neuron's begin [N + 1]. Waits for the device once, to check them."""
    if places.dtype != torch.int64:
        raise ValueError("places must have dtype int64")
    if places.shape != (inputs,):
        raise ValueError(f"places must have size {inputs} in dimension 0, not {tuple(places.shape)}")
    wrong = ((places < 0) | (places >= neurons)).nonzero()[:, 0]
    if len(wrong):
        index = int(wrong[0])
        raise ValueError(f"places[{index}] = {int(places[index])} must be a neuron from 0 to {neurons - 1}")
    sorted_places, order = places.sort(stable=True)
    return order, torch.searchsorted(sorted_places, torch.arange(neurons + 1, device=places.device))


@torch.library.impl("quintet::recurrent", "CUDA")
def _forward(*inputs: Any) -> Outputs:
    outputs = outputs_of(*inputs)
    final, states, values, scales, _ = outputs
    run = _Run(inputs, scales if inputs[7][5] else scales.new_empty(inputs[7][0] * final.shape[0]))
    whole = bool(run.keeps) and not run.segment
    kept = run.slots(run.steps if whole else len(run.spans()) - 1, values if run.keeps else None)
    turns = kept if whole and not run.sums else run.slots(2)
    before = None
    for index, span in enumerate(run.spans()):
        run.forward(span, before, turns, kept if whole and run.sums else None, final, states)
        if span[1] < run.steps:
            before = kept[index].copy_(turns[(span[1] - span[0] - 1) % 2])
    return outputs


@torch.library.impl("quintet::recurrent_backward", "CUDA")
def _backward(*inputs: Any) -> Outputs:
    weight, _, gain, state, drive, places = inputs[:6]
    values, scales, masks, final, states = inputs[11:]
    if masks.numel():
        raise ValueError(f"masks must have size 0 in dimension 0, not {masks.numel()}")
    run, neurons = _Run(inputs, scales), weight.shape[0]
    spans = run.spans()
    kept = run.slots(len(spans) - 1 if run.segment else run.steps, values)
    carried, gains = run.slots(2).zero_()
    entered, products, transposed = run.slots(drive.shape[1]).zero_(), run.slots(4), weight.t().contiguous()
    to_weight, to_bias = weight.new_zeros(run.columns, run.columns), weight.new_zeros(run.columns)
    for index, span in reversed(list(enumerate(spans))):
        before = kept[index - 1] if index else None
        arguments = _again(run, span, before) if run.segment else kept
        errors, entering = run.slots(span[1] - span[0]), run.slots(span[1] - span[0])
        run.backward(span, before, transposed, arguments, final, states, carried, gains, errors, entering, entered, products)
        entering[0].zero_()
        if before is not None:
            entering[0, :, :neurons] = before[:, :neurons] * scales.view(run.steps, run.batch)[span[0] - 1, :, None] * gain
        elif state is not None:
            entering[0, :, :neurons] = state
        to_weight.addmm_(entering.flatten(0, 1).T, errors.flatten(0, 1))
        to_bias += errors.sum((0, 1))
    to_drive = entered[:, :, :neurons] if places is None else entered.index_select(2, places)
    to_state = weight.new_empty(0, neurons) if state is None else carried[:, :neurons]
    found = to_weight[:neurons, :neurons], to_bias[:neurons], gains.sum(0)[:neurons], to_state, to_drive.transpose(0, 1)
    return tuple(each.clone(memory_format=torch.contiguous_format) for each in found)  # type: ignore[return-value]


def _again(run: _Run, span: tuple[int, int], before: Tensor | None) -> Tensor:
    """d, or s, of each step of a span whose steps were not kept [K, B, P]."""
    steps = span[1] - span[0]
    values, sums = run.slots(2 if run.sums else steps), run.slots(steps) if run.sums else None
    run.forward(span, before, values, sums, None, None)
    return values if sums is None else sums
