"""Neuromodulators: dopamine says whether the last token came as a surprise, serotonin how well things go of late.

Both come from the loss of the token that has just arrived, by what was predicted before it: from inputs seen, so that inference has them
as training has. Dopamine is high when the loss is higher than usual, and through its gains it opens the thalamus to novelty, makes the
hippocampus keep more, and shifts every module's excitability. No gradient passes through them.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MODULATORS = ("dopamine", "serotonin", "baseline")


def initial(batch: int, vocab_size: int, like: Tensor) -> Tensor:
    """[B, 3]: no dopamine, no serotonin, and a baseline of 0.6 ln V."""
    return like.new_tensor([0.0, 0.0, 0.6 * math.log(vocab_size)]).expand(batch, 3).clone()


def update(modulators_B3: Tensor, prediction_BV: Tensor, token_B: Tensor) -> Tensor:
    """After a token: da = tanh((l - baseline) / 2), se <- 0.95 se + 0.05 tanh(l - baseline), baseline <- 0.98 baseline + 0.02 l."""
    loss_B = F.cross_entropy(prediction_BV, token_B, reduction="none")
    _, serotonin, baseline = modulators_B3.unbind(1)
    surprise = loss_B - baseline
    return torch.stack(
        (torch.tanh(0.5 * surprise), torch.lerp(serotonin, torch.tanh(surprise), 0.05), torch.lerp(baseline, loss_B, 0.02)), 1
    )
