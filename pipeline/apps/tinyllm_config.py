"""The training configuration of tinyllm_py: the fields of its document, with defaults for two CPU cores."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from pipeline.apps.checked import check

Positive = Annotated[int, Gt(0)]
Count = Annotated[int, Ge(0)]
Temperature = Annotated[float, Ge(0)]


@dataclass
class TrainingConfig:
    """How a small language model is trained, and how its console writes; raises `UserError` for a value that cannot be."""

    epochs: Positive = 3
    """As many windows as cover the training text once make an epoch."""
    batch_size: Positive = 32
    """Windows an optimizer step."""
    learning_rate: Annotated[float, Gt(0), Le(1)] = 3e-3
    max_context: Positive = 64
    """Characters that the model sees at once."""
    gradient_clip: Annotated[float, Ge(0)] = 1.0
    """Largest norm of the gradient; 0 leaves it as it is."""
    val_split: Annotated[float, Gt(0), Lt(1)] = 0.1
    """Share of the text, from its end, that is held out."""
    sample_frequency: Count = 500
    """Optimizer steps between two samples; 0 draws none."""
    temperature: Temperature = 0.8
    """Of those samples; 0 is greedy."""
    console_max_tokens: Positive = 200
    console_temperature: Temperature = 0.8
    console_top_k: Count = 50
    """The console draws from so many of the likeliest characters; 0 from all."""

    def __post_init__(self) -> None:
        check(self)
