"""The document's losses, as torch's: scalars with a gradient."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class LossFunction:
    """Means over the batch. `target` is class numbers [B] or, in the shape of `pred` [B, C], one-hot rows or values."""

    @staticmethod
    def mse_loss(pred: Tensor, target: Any) -> Tensor:
        """Mean squared error over all entries; class numbers stand for one-hot rows."""
        target = torch.as_tensor(target)
        if target.dim() == 1 and not target.is_floating_point():
            target = F.one_hot(target.long(), pred.shape[1])
        return F.mse_loss(pred, target.to(pred.dtype).view_as(pred))

    @staticmethod
    def cross_entropy_loss(pred: Tensor, target: Any) -> Tensor:
        """Cross-entropy of softmax(pred), in nats; one-hot rows may be any probabilities."""
        target = torch.as_tensor(target)
        return F.cross_entropy(pred, target.long() if target.dim() == 1 else target.to(pred.dtype))


LOSSES = {"mse": LossFunction.mse_loss, "cross_entropy": LossFunction.cross_entropy_loss}
