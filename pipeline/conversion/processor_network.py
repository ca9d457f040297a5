"""A classifier in whole numbers, as the processor's program computes it: sums of digits times numbers in memory, brought back to size.

Memory holds the raw inputs (`pipeline.data.features`) from address 0 on, then tables of embeddings, then what each step writes. A number q
in memory stands for q times its region's unit. A step of a matrix [R, K] computes, for each of its P positions,

    t_r = sum over segments of present (m_r (sum over k of digit_rk q_k) + c_r)
    q_r = (max(t_r, 0) + 2^(s-1)) div 2^s, at most `TOP`; or t_r itself, if the step is the last

where m_r / 2^s is the ratio of units (Jacob et al. 2018, arXiv:1712.05877, section 2.2) and c_r the bias with all offsets. So nothing
negative is ever divided, and no number leaves the 16 digits of a word. Shapes: B rows, P positions, K inputs, R outputs, V tokens, D width.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

TOP = 4095
"""The largest activation."""
WORD = (5**16 - 1) // 2
"""The largest number of 16 digits."""


class Windows(NamedTuple):
    """Where a convolution's inputs [C, H, W] lie; no padding."""

    shape: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]

    def places(self) -> Tensor:
        """int64 [P, K]: what each position reads, counted from the first input."""
        channels, height, width = self.shape
        found = torch.arange(channels * height * width).view(self.shape)
        for axis in (0, 1):
            found = found.unfold(axis + 1, self.kernel[axis], self.stride[axis])
        return found.permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1)


class Segment(NamedTuple):
    """Inputs that share a unit: `length` columns of a matrix from address `source` on, and what their sums are multiplied and raised by.

    `flag` is the address of a 0 or 1 that multiplies the result: whether the modality is there.
    """

    source: int
    length: int
    multiplier_R: Tensor
    offset_R: Tensor
    flag: int | None


Ending = Literal["relu", "signed", "logits"]


class Sums(NamedTuple):
    """A step of a matrix, which writes [R P] from `target` on; `windows` None is a linear layer.

    `ending` is what becomes of a sum: `relu` makes an activation 0..`TOP` of it, `signed` one of -`TOP`..`TOP`, `logits` leaves it.
    """

    name: str
    target: int
    digits_RK: Tensor
    segments: Sequence[Segment]
    shift: int
    ending: Ending
    windows: Windows | None

    def addresses(self, segment: Segment) -> Tensor:
        """What is read: int64 [P, K]."""
        return (torch.arange(segment.length)[None] if self.windows is None else self.windows.places()) + segment.source

    def run(self, memory_BN: Tensor) -> Tensor:
        """What is written: [B, R P], a row's positions side by side."""
        total_BRP = torch.zeros(())
        first = 0
        for segment in self.segments:
            gathered_BPK = memory_BN[:, self.addresses(segment)]
            digits_RK = self.digits_RK[:, first : first + gathered_BPK.shape[2]].double()
            t_BRP = (digits_RK @ gathered_BPK.transpose(1, 2)) * segment.multiplier_R[:, None] + segment.offset_R[:, None]
            total_BRP = total_BRP + (t_BRP if segment.flag is None else t_BRP * memory_BN[:, segment.flag, None, None])
            first += gathered_BPK.shape[2]
        if self.ending != "logits":
            raised = TOP if self.ending == "signed" else 0  # so that nothing negative is divided
            raised_BRP = (total_BRP + raised * 2**self.shift).clamp_min(0)
            total_BRP = ((raised_BRP + half(self.shift)) / 2**self.shift).floor().clamp_max(TOP + raised) - raised
        return total_BRP.flatten(1)


def half(shift: int) -> int:
    """What makes a division by 2^shift round."""
    return 1 << shift >> 1


class Means(NamedTuple):
    """The mean of a sentence's embeddings: `tokens` ids from `source` on, 0 is padding; the table [V, D] lies at `table`."""

    name: str
    target: int
    source: int
    tokens: int
    table: int
    table_VD: Tensor

    def run(self, memory_BN: Tensor) -> Tensor:
        """Rounded means [B, D]: raised by `TOP`, so that nothing negative is divided, and lowered again."""
        ids_BT = memory_BN[:, self.source : self.source + self.tokens].long()
        count_B1 = (ids_BT > 0).sum(1, keepdim=True)
        total_BD = self.table_VD[ids_BT].sum(1)
        mean_BD = (2 * total_BD + (2 * TOP + 1) * count_B1) // (2 * count_B1).clamp_min(1) - TOP
        return torch.where(count_B1 > 0, mean_BD, 0).double()


Step = Sums | Means


class Program(NamedTuple):
    """All steps in order. `inputs` numbers come in at address 0; the last step's outputs are logits, in units of `unit`."""

    inputs: int
    size: int
    """Of the memory."""
    steps: Sequence[Step]
    unit: float

    def run(self, inputs_BF: Tensor) -> Tensor:
        """Logits [B, C] as whole numbers in float64, which holds all numbers of a word exactly."""
        memory_BN = torch.zeros(len(inputs_BF), self.size, dtype=torch.float64)
        memory_BN[:, : self.inputs] = inputs_BF
        for step in self.steps:
            if isinstance(step, Means):
                memory_BN[:, step.table : step.table + step.table_VD.numel()] = step.table_VD.flatten().double()
        written = memory_BN
        for step in self.steps:
            written = step.run(memory_BN)
            memory_BN[:, step.target : step.target + written.shape[1]] = written
        return written
