"""Models: family, data set, training, quantization, formats, evaluation."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline.schema.base import Block, Count, Name, Positive
from pipeline.schema.families import FAMILIES, Family
from pipeline.schema.training import Training

Format = Literal["huggingface", "onnx"]


class Quantization(Block):
    """Weights to `levels` values and a scale a row: found by searching the scale of least squared error."""

    method: Literal["mse"] = "mse"
    levels: Literal[5] = 5
    candidates: Positive = 200


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
    """One model of the run; `architecture` takes the keys of its family."""

    family: Family
    dataset: Name
    architecture: Any
    training: Training = Training()
    quantization: Quantization = Quantization()
    formats: tuple[Format, ...] = Field(default=("huggingface", "onnx"), strict=False)
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="before")
    @classmethod
    def _architecture_of_family(cls, data: Any) -> Any:
        """Read `architecture` by its family's class, so that its mistakes are named with their full key."""
        if isinstance(data, dict) and data.get("family") in FAMILIES:
            architecture = data.get("architecture", {})
            if isinstance(architecture, dict):
                return {**data, "architecture": FAMILIES[data["family"]](**architecture)}
        return data
