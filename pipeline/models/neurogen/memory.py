"""The hippocampus' fast memory: what followed a pattern before, found again by the pattern.

A matrix M [K, H] a stream. After each token, its key k (K binary units, normed) is remembered; with the next token comes the value v to
keep under it, M <- lambda M + eta k_{t-1} v_t (Ba et al. 2016 with a decay for each key unit, from fast to slow), and what M holds
under the present key is recalled.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.neurogen.neurons import HEIGHT
from pipeline.ops.reference_phase import EPSILON, spikes

THRESHOLD = 0.5


class Memory(nn.Module):
    """K key units over patterns of Wernicke's area; the projection to [keys, values] is the connection's."""

    def __init__(self, keys: int) -> None:
        super().__init__()
        self.keys = keys
        self.smooth = False
        self.gain, self.bias = nn.Parameter(torch.ones(keys)), nn.Parameter(torch.linspace(0.8, 0.0, keys))
        self.retention = nn.Parameter(torch.linspace(0.4, 0.99, keys).logit())
        self.plasticity = nn.Parameter(torch.tensor([0.0, 0.5, 0.0]))
        """Of eta = sigmoid(p_0 + p_1 dopamine + p_2 serotonin)."""

    def forward(self, projected_BS: Tensor, modulators_B2: Tensor, memory_BKH: Tensor, key_BK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is recalled [B, H], the memory, and the key to keep the next value under. `key_BK` is the last token's."""
        raw_BK, value_BH = projected_BS[:, : self.keys], projected_BS[:, self.keys :]
        rate_B1 = torch.sigmoid(torch.addmv(self.plasticity[0], modulators_B2, self.plasticity[1:]))[:, None]
        new_BK = self.key(raw_BK)
        kept = self.retention.sigmoid()[:, None] * memory_BKH
        memory_BKH = torch.baddbmm(kept, key_BK[:, :, None], (rate_B1 * value_BH)[:, None])
        return torch.bmm(new_BK[:, None], memory_BKH)[:, 0], memory_BKH, new_BK

    def key(self, raw_BK: Tensor) -> Tensor:
        """Which of the key units fire, over the root of their number and one."""
        u = F.layer_norm(raw_BK, raw_BK.shape[-1:], self.gain, self.bias, EPSILON) - THRESHOLD
        fired = spikes(u, HEIGHT, self.smooth)
        return fired * (fired.sum(1, keepdim=True) + 1).rsqrt()
