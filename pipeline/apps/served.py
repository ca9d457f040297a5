"""A packed model as MLflow serves it: what `mlflow.pyfunc.load_model` makes of a logged model's directory.

    model = mlflow.pyfunc.load_model("models:/shakespeare@champion")
    model.predict(["ROMEO:"], params={"max_tokens": 100, "temperature": 0.8, "seed": 1})      # -> one text a prompt

MLflow finds this file by its name, which the logged model says, so that nothing is pickled; the package and its native module must be
installed. It checks inputs against the signature (`pipeline.tracking.logged`) before they come here.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from pipeline import rng
from pipeline.apps.console.conversation import unknown
from pipeline.apps.solve import Solver
from pipeline.apps.trained import Trained, open_model
from pipeline.data import features
from pipeline.data.features import Feature
from pipeline.errors import UserError
from pipeline.models.generation import generate

Parameters = Mapping[str, Any]


class Served(Protocol):
    """What MLflow asks a loaded model for."""

    def predict(self, model_input: Any, params: Parameters | None = None) -> Any: ...


def _load_pyfunc(path: str) -> Served:
    """MLflow's entry; raises `UserError` for a directory that is damaged."""
    trained = open_model(Path(path))
    tasks: dict[str, type[Writer | Calculator | Classifier]] = {"arithmetic": Calculator, "classification": Classifier}
    return tasks.get(trained.config["quintet"].get("task", "language"), Writer)(trained)


class Writer:
    """Goes on from prompts."""

    def __init__(self, trained: Trained) -> None:
        self.trained = trained

    def predict(self, model_input: Any, params: Parameters | None = None) -> list[str]:
        """A continuation of each prompt, without it; raises `UserError` for one that is empty or has an unknown character.

        `seed` begins each prompt's drawing anew, so that its text does not depend on the prompts beside it. Temperature 0 is greedy.
        """
        return [self._continue(prompt, **(params or {})) for prompt in _strings(model_input)]

    def _continue(self, prompt: str, max_tokens: int = 100, temperature: float = 0.8, top_k: int = 50, seed: int = 0) -> str:
        tokenizer = self.trained.tokenizer
        if max_tokens < 1 or temperature < 0 or top_k < 0:
            raise UserError("max_tokens must be 1 or more, temperature and top_k 0 or more")
        if not prompt or (wrong := unknown(tokenizer, prompt)):
            raise UserError(f"this model does not know {', '.join(wrong)}" if prompt else "a prompt needs at least one character")
        drawing: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "generator": rng.generator(seed, "console")}
        (drawn,) = generate(self.trained.module, [tokenizer.encode(prompt)], max_tokens, eos=tokenizer.eos, **drawing)
        return tokenizer.decode(drawn[:-1] if drawn[-1] == tokenizer.eos else drawn)


class Calculator:
    """Solves problems."""

    def __init__(self, trained: Trained) -> None:
        self.solver = Solver(trained)

    def predict(self, model_input: Any, params: Parameters | None = None) -> list[str]:
        """The model's answer to each problem such as `12+34=`, right or not; raises `UserError` for one that it cannot read."""
        results = list(self.solver.solve(_strings(model_input)))
        if wrong := [result.error for result in results if result.error]:
            raise UserError(wrong[0])
        return [result.answer for result in results]


class Classifier:
    """Tells classes from any of the modalities, a column each: a sentence, an image's rows of pixels, a spectrogram's frames of levels."""

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        self.layout = features.layout(trained.config["quintet"])
        self.classes: list[str] = trained.config["quintet"]["classes"]

    @torch.inference_mode()
    def predict(self, model_input: Any, params: Parameters | None = None) -> list[dict[str, Any]]:
        """The likeliest class of each row and its probability; a modality may be missing as a column, or in a row as null."""
        count = max(len(model_input[name]) for name in model_input)
        columns = [list(model_input[each.name]) if each.name in model_input else [None] * count for each in self.layout]
        rows = [[self._part(each, value) for each, value in zip(self.layout, row, strict=True)] for row in zip(*columns, strict=True)]
        presence_BM = torch.tensor([[part is not None for part in row] for row in rows], dtype=torch.float32)
        if not bool(presence_BM.any(1).all()):
            raise UserError(f"a row has none of {', '.join(each.name for each in self.layout)}: give at least one")
        absent = [torch.zeros(each.shape) for each in self.layout]
        parts = [torch.stack([absent[i] if (part := row[i]) is None else part for row in rows]) for i in range(len(absent))]
        probability_BC = self.trained.module(features.join(presence_BM, parts))[0][:, 0].softmax(-1)
        best = probability_BC.max(-1)
        found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [{"class": self.classes[index], "probability": probability} for index, probability in found]

    def _part(self, feature: Feature, value: Any) -> torch.Tensor | None:
        """A feature as the shards hold it; None where there is none."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if feature.name == "text":
            ids = torch.tensor(self.trained.tokenizer.encode(value)[: feature.size]) + 1
            return torch.cat((ids.float(), torch.zeros(feature.size - len(ids))))
        tensor = torch.tensor([list(line) for line in value], dtype=torch.float32)
        if tuple(tensor.shape) != feature.shape:
            raise UserError(f"{feature.name} is {' x '.join(map(str, tensor.shape))} numbers, not {' x '.join(map(str, feature.shape))}")
        return tensor


def _strings(given: Any) -> Sequence[str]:
    """The strings that MLflow hands over: as a list, or as the only column of a table."""
    return [str(value) for value in (given.iloc[:, 0] if hasattr(given, "iloc") else given)]
