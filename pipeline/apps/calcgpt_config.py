"""The training configuration of CalcGPT's library: its fields, its defaults, and what they may be."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from pipeline.apps.checked import check
from pipeline.errors import UserError

Positive = Annotated[int, Gt(0)]
Count = Annotated[int, Ge(0)]


@dataclass
class TrainingConfig:
    """How a calculator is trained; raises `UserError` for a value that cannot be."""

    epochs: Positive = 50
    batch_size: Positive = 8
    learning_rate: Annotated[float, Gt(0), Le(1)] = 1e-3
    """AdamW's, at its peak."""
    embedding_dim: Positive = 128
    num_layers: Positive = 6
    num_heads: Positive = 8
    feedforward_dim: Positive = 512
    """Width inside the SwiGLU, which has three matrices where CalcGPT's own layer has two."""
    warmup_steps: Count = 50
    """At most half of all steps are warm-up, whatever this says."""
    weight_decay: Annotated[float, Ge(0)] = 0.01
    save_steps: Positive = 1000
    """Steps between two checkpoints, from which a stopped training goes on."""
    test_split: Annotated[float, Gt(0), Lt(1)] = 0.2
    """Share of the equations that is held out."""
    seed: Annotated[int, Ge(0), Lt(1 << 63)] = 42
    no_augmentation: bool = False

    def __post_init__(self) -> None:
        check(self)
        width = self.embedding_dim
        possible = [heads for heads in range(1, width + 1) if width % (2 * heads) == 0]
        if not possible:
            raise UserError(f"TrainingConfig.embedding_dim = {width} is odd: choose an even number (positions turn pairs of channels)")
        if self.num_heads not in possible:
            raise UserError(
                f"TrainingConfig.num_heads = {self.num_heads} does not divide embedding_dim = {width} into even parts: "
                f"choose one of {possible}"
            )
