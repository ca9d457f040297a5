"""How a trained model's weights become digits: the knobs of the stage `quantize`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.schema.base import Block, Count, Positive
from pipeline.schema.training import Training

Level = Literal[3, 4, 5, 7, 9, 15, 256]


class Ptq(Block):
    """Rounding without training, on `calibration` sequences of the training split; each step can be left out, to see what it is worth.

    `rotation`: Hadamard matrices folded into the weights. `match`: each matrix makes up for the errors before it, and with `residual` those
    that add to a stream for the stream's too; with `outputs`, a matrix's rows make up for each other's errors, as far as the loss feels
    them (a run backwards, without labels). `search`, `restarts`, `feedback`, `order`, `descent`, `refit`: see
    `pipeline.quantization.ptq.rounding`. `damping` is added to second moments, as a share of their mean: few sequences say less of what
    hardly occurs in them. Results are measured on `held_out` sequences more.
    """

    calibration: Positive = 512
    held_out: Positive = 64
    damping: Annotated[float, Field(gt=0, le=1)] = 0.1
    rotation: bool = True
    match: bool = True
    residual: bool = True
    outputs: bool = True
    search: bool = True
    restarts: bool = True
    feedback: bool = True
    order: bool = True
    descent: bool = True
    refit: bool = True


class Quantization(Block):
    """Weights to `levels` values and a scale a row.

    `method: mse` takes the scale of least squared error. `ptq` rounds for the inputs that each matrix gets, as the block `ptq` says. `qat`
    trains at few levels, as `training` says, from `start` on: the model rounded by `mse` or `ptq`, or `scratch`, a new one with the first
    random weights of the float model. `distillation` is the share of the loss that is the divergence from the float model; a weight learns
    up to `mask_width` scales from zero; `activations: int8` rounds each token's activations as the fast kernel does, in training and after
    it. In the last `final_steps` steps more, digits stand still, and only scales and norms learn (`ptq` may have such steps too); where the
    validation split gets no better by them, they are taken back.

    `levels` is one number, or numbers by names: `embeddings` (and the output matrix), a part of a matrix's name such as `down_proj` or
    `layers.0`, of which the longest counts, and `default`. `bits` in its place chooses each matrix's number for a mean of so many bits a
    weight, by what rounding it alone costs on the block `ptq`'s sequences.
    """

    method: Literal["mse", "ptq", "qat"] = "mse"
    levels: Level | dict[str, Level] = 5
    bits: Annotated[float, Field(ge=1.7, le=8.2)] | None = None
    ptq: Ptq = Ptq()
    start: Literal["mse", "ptq", "scratch"] = "mse"
    training: Training | None = None
    distillation: Annotated[float, Field(ge=0, le=1)] = 0.5
    mask_width: Annotated[float, Field(ge=2, le=2.5)] = 2.0
    activations: Literal["float", "int8"] = "float"
    final_steps: Count = 0

    @model_validator(mode="after")
    def _is_complete(self) -> "Quantization":
        trains = self.method == "qat" or self.final_steps > 0
        if trains != (self.training is not None):
            raise ValueError(f"method {self.method!r} {'needs a' if self.training is None else 'takes no'} block `training`")
        if self.method == "mse" and self.final_steps:
            raise ValueError("final_steps needs method 'ptq' or 'qat'")
        if self.bits is not None and self.levels != 5:
            raise ValueError("bits chooses the levels of every matrix: leave levels out")
        return self

    def levels_of(self, name: str, at_the_edge: bool) -> int:
        """Levels of a matrix by its name; `at_the_edge` are embeddings and the output matrix."""
        if isinstance(self.levels, int):
            return self.levels
        keys = [key for key in self.levels if key in name and key not in ("default", "embeddings")]
        key = max(keys, key=len, default="embeddings" if at_the_edge and "embeddings" in self.levels else "default")
        return self.levels.get(key, 5)
