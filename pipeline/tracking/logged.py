"""A packed model directory in MLflow's form: signature and example by its task; `pipeline.apps.served` loads it. Nothing is pickled."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import mlflow.pyfunc
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array

from pipeline import __version__, io

LOADER = "pipeline.apps.served"
DRAWING = {"max_tokens": ("long", 100), "temperature": ("double", 0.8), "top_k": ("long", 50), "seed": ("long", 0)}
"""Parameters of a request to a language model: type and default."""
NUMBERS = Array(Array(DataType.double))
TEXTS = Schema([ColSpec(DataType.string)])


class Form(NamedTuple):
    """What a model is asked, what it answers, and a question as an example."""

    signature: ModelSignature
    example: Any


def task_of(config: dict[str, Any]) -> str:
    """The task of a config.json."""
    return str(config["quintet"].get("task", "language"))


def form(directory: Path, prompt: str | None) -> Form:
    """Signature and example of a model directory; `prompt` is a question that it can read, where one is known."""
    config = io.read_json(directory / "config.json")
    match task_of(config):
        case "arithmetic":
            return Form(ModelSignature(TEXTS, TEXTS), [prompt or _problem(config["quintet"]["codec"])])
        case "classification":
            return _classifier(config["quintet"])
    parameters = ParamSchema([ParamSpec(name, kind, default) for name, (kind, default) in DRAWING.items()])
    defaults = {name: default for name, (_, default) in DRAWING.items()}
    return Form(ModelSignature(TEXTS, TEXTS, parameters), ([prompt or _word(directory)], defaults))


def _problem(codec: dict[str, Any]) -> str:
    return codec["operators"][0].join([str(codec["maximum"])] * codec["operands"]) + "="


def _word(directory: Path) -> str:
    """A token that is made of letters, for a model of which no prompt is known."""
    tokens = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    return min((token for token in tokens if token.isalpha()), default=min(tokens))


def _classifier(quintet: dict[str, Any]) -> Form:
    """A column a modality, none of which is required; the example has a sentence, or else the first modality's mean."""
    kinds = {feature["name"]: DataType.string if feature["name"] == "text" else NUMBERS for feature in quintet["features"]}
    columns = Schema([ColSpec(kind, name, required=False) for name, kind in kinds.items()])
    given = Schema([ColSpec(DataType.string, "class"), ColSpec(DataType.double, "probability")])
    first = quintet["features"][0]
    example = (
        {"text": quintet["classes"][-1]} if "text" in kinds else {first["name"]: [[first["mean"]] * first["shape"][1]] * first["shape"][0]}
    )
    return Form(ModelSignature(columns, given), [example])


def save(directory: Path, folder: Path, prompt: str | None, run_id: str, model_id: str) -> None:
    """Write the model directory in MLflow's form into a folder that is not there yet."""
    signature, example = form(directory, prompt)
    mlflow.pyfunc.save_model(
        folder,
        loader_module=LOADER,
        data_path=str(directory),
        mlflow_model=Model(run_id=run_id, model_id=model_id),
        signature=signature,
        input_example=example,
        pip_requirements=[f"quintet=={__version__}"],
    )
