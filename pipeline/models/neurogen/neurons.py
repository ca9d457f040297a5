"""The neurons of one module: adaptive leaky integrate-and-fire behind a normalised current."""

import torch
from torch import Tensor, nn

from pipeline.ops import reference_phase
from pipeline.ops.phase import phase_run

RHO, BETA = 0.9, 1.5
"""Decay of the adaptation over an internal step, and how far it raises the threshold."""
HEIGHT = 0.25
"""Of the surrogate derivative. With several internal steps a phase, 0.4 lets gradients explode after half a million tokens."""
DOPAMINE = 0.1
"""Sensitivity of a current to dopamine at the start."""


class Neurons(nn.Module):
    """N neurons that take `steps` internal steps a phase; `decay` N numbers in (0, 1), or None for those who are given it."""

    def __init__(self, size: int, steps: int, decay: Tensor | None) -> None:
        super().__init__()
        self.size, self.steps = size, steps
        self.smooth = False
        """Whether spikes are smooth (see `reference_phase`): for checks of gradients."""
        self.gain, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))
        self.dopamine, self.serotonin = nn.Parameter(torch.full((size,), DOPAMINE)), nn.Parameter(torch.zeros(size))
        self.decay = None if decay is None else nn.Parameter(decay.logit())

    def constants(self) -> tuple[Tensor, Tensor]:
        """Decay and charge [1, N] of a step."""
        assert self.decay is not None
        return pace(self.decay[None])

    def forward(
        self, current_BN: Tensor, modulation_BN: Tensor, pace: tuple[Tensor, Tensor], state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean spikes over the phase, voltage and adaptation after it, all [B, N]."""
        inputs = (current_BN, self.gain, self.bias, modulation_BN, *pace, *state)
        if self.smooth or torch.compiler.is_exporting():
            numbers = {"steps": self.steps, "rho": RHO, "beta": BETA, "height": HEIGHT}
            return reference_phase.phase_run(*inputs, **numbers, smooth=self.smooth)  # type: ignore[arg-type]
        return phase_run(*inputs, steps=self.steps, rho=RHO, beta=BETA, height=HEIGHT)


SLACK = 1 + 1e-6
"""A little more than 1, so that the root of what a square leaves of it has a derivative."""


def pace(logit: Tensor) -> tuple[Tensor, Tensor]:
    """Decay a and charge sqrt(1 - a^2), with which a current of unit variance gives a voltage of unit variance."""
    decay = logit.sigmoid()
    return decay, (SLACK - decay * decay).sqrt()
