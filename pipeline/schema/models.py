"""Models: family, data set, training, quantization, formats, evaluation."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator

from pipeline.schema.base import Block, Count, Name, Positive
from pipeline.schema.families import FAMILIES, Family
from pipeline.schema.training import Training

Format = Literal["huggingface", "onnx"]
Architecture = Annotated[Any, WithJsonSchema({"anyOf": [family.model_json_schema() for family in FAMILIES.values()]})]


class Quantization(Block):
    """Weights to `levels` values and a scale a row: `mse` takes the scale of least squared error, which is found exactly."""

    method: Literal["mse"] = "mse"
    levels: Literal[5] = 5


class Evaluation(Block):
    """How the finished model is judged: `problems` = 0 takes the whole split; samples are drawn from `prompt`."""

    problems: Count = 0
    batch_size: Positive = 256
    prompt: str = "\n"
    new_tokens: Positive = 300
    temperature: Annotated[float, Field(ge=0)] = 0.8
    top_k: Count = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0


class Model(Block):
    """One model of the run; `architecture` takes the keys of its family. No block may be missing, since DVC tracks each by its key."""

    family: Family
    dataset: Name
    architecture: Architecture
    training: Training
    quantization: Quantization
    formats: tuple[Format, ...] = Field(strict=False)
    evaluation: Evaluation

    @field_validator("architecture", mode="before")
    @classmethod
    def _of_the_family(cls, value: Any, info: ValidationInfo) -> Any:
        """Read `architecture` by its family's class, so that its mistakes are named with their full key."""
        family = info.data.get("family")
        return FAMILIES[family].model_validate(value) if family in FAMILIES else value
