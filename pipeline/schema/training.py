"""How a model is trained: the knobs of the one loop."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.schema.base import Block, Count, Positive

Rate = Annotated[float, Field(gt=0, le=1)]


class Training(Block):
    """One optimizer step sees `batch_size` x `accumulation` sequences."""

    steps: Positive = 1000
    batch_size: Positive = 32
    accumulation: Positive = 1
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: Rate = 3e-3
    muon_learning_rate: Rate = 0.02
    schedule: Literal["cosine", "wsd", "constant"] = "cosine"
    warmup_steps: Count = 100
    decay_fraction: Annotated[float, Field(gt=0, le=1)] = 0.2
    final_learning_rate: Annotated[float, Field(ge=0, le=1)] = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    betas: tuple[float, float] = Field(default=(0.9, 0.99), strict=False)
    gradient_clip: Annotated[float, Field(ge=0)] = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    device: Literal["cpu", "cuda"] = "cpu"
    threads: Positive = 1
    evaluate_every: Positive = 250
    patience: Count = 0
    sample_every: Count = 0
    checkpoint_every: Positive = 100
    loss_on: Literal["answer", "all"] = "answer"

    @model_validator(mode="after")
    def _is_possible(self) -> "Training":
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps ({self.warmup_steps}) must be below steps ({self.steps})")
        return self
