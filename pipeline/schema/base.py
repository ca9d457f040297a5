"""What every block of params.yaml has in common: unknown keys are errors, types are strict, values never change."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_-]*$")]


class Block(BaseModel):
    """A mapping in params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
