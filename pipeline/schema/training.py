"""How a model is trained: the knobs of the one loop."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.schema.base import Block, Count, Positive

Rate = Annotated[float, Field(gt=0, le=1)]


class Consolidation(Block):
    """After every `every` steps, one more on about `tokens` tokens of the `episodes` sequences kept of what surprised the model."""

    every: Positive = 10
    tokens: Positive = 2048
    episodes: Positive = 256


class Growth(Block):
    """So many neurons more once so many steps are done."""

    step: Positive
    neurons: Positive


class Training(Block):
    """One optimizer step sees `batch_size` x `accumulation` sequences; `epochs`, where it is given, sets the number of steps.

    `optimizer: muon` takes Muon for the hidden matrices, at `muon_learning_rate`, and AdamW for the rest, at `learning_rate`. Zero turns
    `gradient_clip`, `patience` (evaluations without improvement before an early stop) and `sample_every` off. `precision: bfloat16` lets
    matrix products round their inputs where the processor gains by it. `validation_tokens` is how much of the validation split, from its
    start, an evaluation at an interval reads (0: all of it). `loss_on` matters to arithmetic only.

    Classification alone knows `modality_dropout`, the share of samples that lack some of their modalities, and `augment`, how much samples
    are changed at random (1 is the most that leaves a digit what it is).

    With `carry_state` a step's sequences are parallel streams through a text: each goes on where that of the step before ended, and so does
    the state that the model had there. For families with a recurrent state. `consolidation` learns again from what was surprising.

    `growth` adds neurons to a RealNet amid its training, which computes the same before and after; the best weights are looked for from
    there on.
    """

    steps: Positive = 1000
    epochs: Positive | None = None
    batch_size: Positive = 32
    accumulation: Positive = 1
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: Rate = 3e-3
    muon_learning_rate: Rate = 0.02
    muon_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
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
    validation_tokens: Count = 0
    patience: Count = 0
    sample_every: Count = 0
    sample_tokens: Positive = 100
    sample_temperature: Annotated[float, Field(ge=0)] = 0.8
    checkpoint_every: Positive = 100
    loss_on: Literal["answer", "all"] = "answer"
    modality_dropout: Annotated[float, Field(ge=0, le=1)] = 0.3
    augment: Annotated[float, Field(ge=0, le=1)] = 0.0
    carry_state: bool = False
    consolidation: Consolidation | None = Field(default=None, exclude_if=lambda value: value is None)
    growth: tuple[Growth, ...] = Field(default=(), strict=False, exclude_if=lambda value: not value)

    @model_validator(mode="after")
    def _grows_in_time(self) -> "Training":
        steps = [each.step for each in self.growth]
        if steps != sorted(set(steps)):
            raise ValueError(f"growth: its steps {steps} must rise")
        if steps and self.epochs is None and steps[-1] >= self.steps:
            raise ValueError(f"growth: step {steps[-1]} must be below steps ({self.steps})")
        return self

    @model_validator(mode="after")
    def _is_possible(self) -> "Training":
        if self.epochs is None and self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps ({self.warmup_steps}) must be below steps ({self.steps})")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas = {list(self.betas)}: both must be at least 0 and below 1")
        return self
