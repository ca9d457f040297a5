"""Consolidation: between the steps of a training, sequences that surprised it before are learnt from again.

The sequences kept are a sample of all that came, a fixed number of them, each with a chance that grows with its surprise (its mean loss
when it was read): of keys log(u) / surprise, u uniform on (0, 1), the largest stay (Efraimidis and Spirakis 2006). So old ones remain
among new ones, and memory does not grow.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import rng
from pipeline.schema.training import Consolidation
from pipeline.training.tasks import UNSCORED, Batch


class Episodes:
    """At most `settings.episodes` sequences with their targets, on the CPU; whatever is drawn is a function of `seed` and of what came."""

    def __init__(self, settings: Consolidation, seed: int) -> None:
        self.settings, self.seed = settings, seed
        self.batches, self.replayed = 0, 0
        """Batches seen, and tokens learnt from again."""
        self.keys = torch.zeros(0, dtype=torch.float64)
        self.kept: Batch | None = None

    @torch.no_grad()
    def see(self, inputs_BT: Tensor, logits_BTV: Tensor, targets_BT: Tensor) -> None:
        """Keep of a batch what its surprise and chance bring."""
        scored = (targets_BT != UNSCORED).sum(1).clamp_min(1)
        losses_BT = F.cross_entropy(logits_BTV.flatten(0, 1).float(), targets_BT.flatten(), ignore_index=UNSCORED, reduction="none")
        surprise_B = (losses_BT.view(targets_BT.shape).sum(1) / scored).double().cpu()
        chance_B = torch.rand(len(inputs_BT), dtype=torch.float64, generator=rng.generator(self.seed, "episodes", self.batches))
        keys = torch.cat((self.keys, chance_B.log() / surprise_B.clamp_min(1e-9)))
        new = Batch(inputs_BT.cpu(), targets_BT.cpu())
        known = new if self.kept is None else Batch(*(torch.cat(pair) for pair in zip(self.kept, new, strict=True)))
        order = keys.sort(descending=True, stable=True).indices[: self.settings.episodes]
        self.keys, self.kept = keys[order], Batch(*(part[order] for part in known))
        self.batches += 1

    def recalled(self, step: int) -> Batch | None:
        """What to learn from again after so many steps, if anything: different sequences of about `settings.tokens` tokens in all."""
        if self.kept is None or step % self.settings.every:
            return None
        rows = max(1, self.settings.tokens // self.kept.inputs.shape[1])
        chosen = torch.randperm(len(self.keys), generator=rng.generator(self.seed, "recall", step))[:rows]
        self.replayed += self.kept.inputs[chosen].numel()
        return Batch(*(part[chosen] for part in self.kept))

    def capture(self) -> dict[str, Tensor]:
        """Everything, for a checkpoint between two steps."""
        if self.kept is None:
            return {}
        return {"counts": torch.tensor([self.batches, self.replayed]), "keys": self.keys, **self.kept._asdict()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `capture` gave."""
        if tensors:
            self.batches, self.replayed = tensors["counts"].tolist()
            self.keys, self.kept = tensors["keys"], Batch(tensors["inputs"], tensors["targets"])
