"""Models: family, data set, training, quantization, formats, evaluation."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from pipeline.schema.base import Block, Count, Name, Positive
from pipeline.schema.data import Dataset, DigitsDataset
from pipeline.schema.families import FAMILIES, Family
from pipeline.schema.formats import FORMATS, PROCESSOR_FUSIONS, refusal
from pipeline.schema.quantization import Quantization
from pipeline.schema.training import Training

Format = Annotated[str, WithJsonSchema({"type": "string", "enum": list(FORMATS)})]
Architecture = Annotated[Any, WithJsonSchema({"anyOf": [family.model_json_schema() for family in FAMILIES.values()]})]


class Evaluation(Block):
    """How the finished model and its exports are judged, all on the same part of the test split; samples go on from `prompt`."""

    problems: Count = 0
    """Problems of arithmetic, evenly spread over the split; 0 takes all."""
    windows: Count = 0
    """Windows of text, evenly spread over the split; 0 takes all."""
    batch_size: Positive = 256
    """Problems decoded at a time."""
    prompt: Annotated[str, Field(min_length=1)] | None = None
    new_tokens: Positive = 300
    temperature: Annotated[float, Field(ge=0)] = 0.8
    top_k: Count = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0


class Champion(Block):
    """When a newly judged model becomes its name's `champion` in MLflow's registry; without this block, its task's rule holds.

    No stage reads it, so it may change at any time.
    """

    metric: Annotated[str, Field(min_length=1)]
    """A figure of the run, such as `quantized/bits_per_byte`."""
    better: Literal["lower", "higher"]
    margin: Annotated[float, Field(ge=0)]
    """By how much the figure must be better than the champion's, in its own unit."""


class Model(Block):
    """One model of the run; `architecture` takes its family's keys. No block but `champion` may be missing: DVC tracks each by its key."""

    family: Family
    dataset: Name
    architecture: Architecture
    training: Training
    quantization: Quantization
    formats: tuple[Format, ...] = Field(strict=False)
    evaluation: Evaluation
    champion: Champion | None = None

    @field_validator("architecture", mode="before")
    @classmethod
    def _of_the_family(cls, value: Any, info: ValidationInfo) -> Any:
        """Read `architecture` by its family's class, so that its mistakes are named with their full key."""
        family = info.data.get("family")
        return FAMILIES[family].model_validate(value) if family in FAMILIES else value

    @field_validator("formats")
    @classmethod
    def _hold_the_family(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for name in value:
            if "family" in info.data and (sentence := refusal(info.data["family"], name)):
                raise ValueError(sentence)
        return value

    @model_validator(mode="after")
    def _has_a_state_to_carry(self) -> "Model":
        for key, training in (("training", self.training), ("quantization.training", self.quantization.training)):
            if training is not None and training.carry_state and not FAMILIES[self.family].recurrent:
                raise ValueError(f"{key}.carry_state needs a recurrent state, and a {self.family} model has none: leave it out")
        return self

    @model_validator(mode="after")
    def _rounds_what_it_gets(self) -> "Model":
        if getattr(self.architecture, "fan_in", None) is None:
            return self
        if "ptq" in (self.quantization.method, self.quantization.start):
            raise ValueError(
                "quantization: ptq rounds a matrix for the second moments of the inputs that all of its rows share, and with "
                "architecture.fan_in each 16 rows have inputs of their own: set method to mse, or to qat from mse or scratch"
            )
        if self.quantization.activations != "float":
            raise ValueError("quantization.activations = int8 has no kernel for connections with architecture.fan_in: set float")
        return self

    @model_validator(mode="after")
    def _can_grow(self) -> "Model":
        if self.training.growth and not FAMILIES[self.family].grows:
            raise ValueError(f"training.growth is for the family realnet, and a {self.family} model does not grow: leave it out")
        if self.quantization.training is not None and self.quantization.training.growth:
            raise ValueError("quantization.training.growth: a model grows while it is trained in float: leave it out here")
        return self

    @model_validator(mode="after")
    def _fits_the_processor(self) -> "Model":
        if "processor" not in self.formats:
            return self
        fusion, levels = self.architecture.fusion, self.quantization.levels
        if fusion not in PROCESSOR_FUSIONS:
            raise ValueError(
                f"architecture.fusion = {fusion!r}, but the format processor knows {' and '.join(PROCESSOR_FUSIONS)} only: "
                "set one of them, or leave processor out of formats"
            )
        if self.quantization.bits is not None or (isinstance(levels, int) and levels > 5):
            raise ValueError(
                "the format processor knows digits of up to 5 levels: set quantization.levels to 3 or 5 and leave quantization.bits out, "
                "or leave processor out of formats"
            )
        return self

    def mismatch(self, dataset: Dataset) -> str | None:
        """Why the family cannot learn from a data set, as a sentence, or None where it can."""
        family, block = FAMILIES[self.family], self.architecture
        classifiers = [name for name, each in FAMILIES.items() if each.modalities]
        if not isinstance(dataset, DigitsDataset):
            if not family.reads:
                return f"a {self.family} model needs a data set of the kind digits, and {self.dataset!r} is {dataset.kind}: choose another"
            if getattr(block, "least_steps", None) is not None:
                return f"architecture.least_steps is for images, and {self.dataset!r} is {dataset.kind}: leave it out"
            return None
        if not family.modalities:
            return f"a {self.family} model reads tokens, and {self.dataset!r} is {dataset.kind}: choose one of {', '.join(classifiers)}"
        if other := [name for name in dataset.modalities if name not in family.modalities]:
            return f"a {self.family} model classifies by {', '.join(family.modalities)}, not {other[0]}: change {self.dataset}.modalities"
        given = [key for key in ("input_neurons", "output_neurons") if getattr(block, key, None) is not None]
        return f"architecture.{given[0]} follows from the pixels and classes of {self.dataset!r}: leave it out" if given else None
