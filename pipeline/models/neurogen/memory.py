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
        rate_B1, raw_BK, value_BH = self.parts(projected_BS, modulators_B2)
        new_BK = self.key(raw_BK)
        kept = self.retention.sigmoid()[:, None] * memory_BKH
        memory_BKH = torch.baddbmm(kept, key_BK[:, :, None], (rate_B1 * value_BH)[:, None])
        return torch.bmm(new_BK[:, None], memory_BKH)[:, 0], memory_BKH, new_BK

    def parts(self, projected_BS: Tensor, modulators_B2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How far the memory opens to a new value [B, 1], what decides on the key [B, K], and the value [B, H]."""
        rate_B = torch.sigmoid(torch.addmv(self.plasticity[0], modulators_B2, self.plasticity[1:]))
        return rate_B[:, None], projected_BS[:, : self.keys], projected_BS[:, self.keys :]

    def window(self, memory_BKH: Tensor, key_BK: Tensor) -> "Recollection":
        """The same from this memory on for the tokens of a window, where nobody needs the memory at each of them."""
        return Recollection(self, memory_BKH, key_BK)

    def key(self, raw_BK: Tensor) -> Tensor:
        """Which of the key units fire, over the root of their number and one."""
        u = F.layer_norm(raw_BK, raw_BK.shape[-1:], self.gain, self.bias, EPSILON) - THRESHOLD
        fired = spikes(u, HEIGHT, self.smooth)
        return fired * (fired.sum(1, keepdim=True) + 1).rsqrt()


class Recollection:
    """A memory that is not written: with the keys p and values w = eta v of the window's tokens so far, and the memory M before it,

        r_t = sum_{s <= t} w_s sum_i k_ti lambda_i^(t - s) p_si + sum_i k_ti lambda_i^t M_i

    which takes as many rows of H numbers as there are tokens in place of K, and keeps no matrix a token. No gradient goes to M.
    """

    def __init__(self, memory: Memory, first_BKH: Tensor, key_BK: Tensor) -> None:
        self.memory, self.first_BKH, self.key_BK = memory, first_BKH.detach(), key_BK
        self.retention = memory.retention.sigmoid()
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def token(self, projected_BS: Tensor, modulators_B2: Tensor) -> Tensor:
        """What is recalled [B, H] at the next token."""
        rate_B1, raw_BK, value_BH = self.memory.parts(projected_BS, modulators_B2)
        self.keys.append(self.key_BK)
        self.values.append(rate_B1 * value_BH)
        self.key_BK = self.memory.key(raw_BK)
        decays_SK = self._decays()
        shares_BS = torch.einsum("bk,sk,bsk->bs", self.key_BK, decays_SK, torch.stack(self.keys, 1))
        kept_BK = self.key_BK * decays_SK[0] * self.retention
        recalled_BH = torch.bmm(kept_BK[:, None], self.first_BKH)[:, 0]
        for share_B1, value_BH in zip(shares_BS.split(1, 1), self.values, strict=True):
            recalled_BH = torch.addcmul(recalled_BH, share_B1, value_BH)
        return recalled_BH

    def written(self) -> Tensor:
        """The memory [B, K, H] after the last token."""
        if not self.keys:
            return self.first_BKH
        decays_SK = self._decays()
        keys_BSK = torch.stack(self.keys, 1) * decays_SK
        memory_BKH = (decays_SK[0] * self.retention)[:, None] * self.first_BKH
        return torch.baddbmm(memory_BKH, keys_BSK.mT, torch.stack(self.values, 1))

    def _decays(self) -> Tensor:
        """lambda^(t - s) of each token s so far [S, K]."""
        ages_S = torch.arange(len(self.keys) - 1, -1, -1, device=self.retention.device)
        return self.retention ** ages_S[:, None]
