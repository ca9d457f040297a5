"""Learning-rate schedules as factors of the peak: pure functions of the step."""

import math
from typing import Any


def factor(step: int, settings: Any) -> float:
    """Share of the peak learning rate at `step` (0 <= step < settings.steps).

    A linear warm-up over `warmup_steps`, then: `cosine`, half a cosine down to `final_learning_rate`; `wsd` (warm-up, stable, decay), flat
    until the last `decay_fraction` of all steps and then a straight line down to it; `constant`, flat.
    """
    if step < settings.warmup_steps:
        return (step + 1) / (settings.warmup_steps + 1)
    low = settings.final_learning_rate
    match settings.schedule:
        case "cosine":
            done = (step - settings.warmup_steps) / (settings.steps - settings.warmup_steps)
            return low + (1 - low) * (1 + math.cos(math.pi * done)) / 2
        case "wsd":
            left = (settings.steps - step) / max(1.0, settings.decay_fraction * settings.steps)
            return low + (1 - low) * min(1.0, left)
    return 1.0
