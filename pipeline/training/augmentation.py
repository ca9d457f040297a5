"""Training samples moved, stretched and turned a little, so that a network learns what does not matter.

Images as hands differ: size, place, slant. Spectrograms as speakers do: the length of the vocal tract stretches the frequencies, tempo the
time, and the room tilts the levels; some are cut off too early or begin too late, and some bands are covered (SpecAugment: Park et al.
2019, arXiv:1904.08779). Sentences lose some tokens.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.data.features import Feature

TURN = 0.2
"""Radians that an image is turned by at most, at strength 1."""
STRETCH, SHIFT = 0.15, 0.12
"""Share of its size that each axis is stretched and moved by at most."""
TILT = 0.3
"""Deviations that the levels of the highest band are raised by at most against the lowest."""
LOST = 0.1
"""Share of tokens that are lost."""
CUT = 0.6
"""Share of a recording that is cut off at most, of the half that are cut."""
COVERED = 0.2
"""Share of the bands that are covered, at most."""


def augment(x: Tensor, feature: Feature, strength: float, stream: np.random.Generator) -> Tensor:
    """Raw features [B, *shape] changed at random; `strength` 1 is the most that leaves a digit what it is."""

    def draw(most: float) -> Tensor:
        return torch.from_numpy(stream.uniform(-most * strength, most * strength, len(x)).astype(np.float32))

    if feature.name == "text":
        return torch.where(torch.from_numpy(stream.random(x.shape) < LOST * strength), 0.0, x)
    turn = draw(TURN) if feature.name == "image" else torch.zeros(len(x))
    wide, high = 1 + draw(STRETCH), 1 + draw(STRETCH)
    slant = draw(TURN) if feature.name == "image" else torch.zeros(len(x))
    across, down = draw(2 * SHIFT), draw(2 * SHIFT)
    if feature.name == "audio":
        lost = torch.from_numpy((stream.random(len(x)) * (stream.random(len(x)) < 0.5)).astype(np.float32)) * CUT * strength
        high, down = high * (1 - lost), down + lost * torch.from_numpy(stream.uniform(-1, 1, len(x)).astype(np.float32))
    theta = torch.stack([wide * turn.cos(), slant - turn.sin(), across, turn.sin(), high * turn.cos(), down], 1)
    grid = F.affine_grid(theta.view(-1, 2, 3), [len(x), 1, *feature.shape], align_corners=False)
    moved = F.grid_sample(x[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
    return moved if feature.name == "image" else _heard(moved, feature, draw(TILT), COVERED * strength, stream)


def _heard(x_BTM: Tensor, feature: Feature, tilt_B: Tensor, covered: float, stream: np.random.Generator) -> Tensor:
    """Levels tilted, and up to the share `covered` of the bands at the mean level."""
    bands = feature.shape[1]
    slope_M = torch.linspace(-1, 1, bands) * feature.deviation
    tilted = x_BTM + tilt_B[:, None, None] * slope_M
    first = stream.integers(0, bands, len(x_BTM))
    count = stream.random(len(x_BTM)) * covered * bands
    band = np.arange(bands)
    covered_BM = (band >= first[:, None]) & (band < (first + count)[:, None])
    return torch.where(torch.from_numpy(covered_BM)[:, None], feature.mean, tilted)
