"""Trained models for the tools that ask them: which directory a name means, and what lies in it, opened."""

from pathlib import Path
from typing import Any, NamedTuple

from pipeline import models, paths
from pipeline.data import tokenizers
from pipeline.data.tokenizers import Tokenizer
from pipeline.errors import UserError
from pipeline.models.base import Model
from pipeline.quantization.modules import PackedMatrix

TOOLS = {
    "language": "continues texts: talk to it by `python -m pipeline console`",
    "arithmetic": "solves problems: ask it by `python -m pipeline solve`",
}
"""What a model of each task that can be asked does, and by which command."""


class Trained(NamedTuple):
    """An opened model directory."""

    directory: Path
    config: dict[str, Any]
    module: Model
    tokenizer: Tokenizer

    def describe(self) -> str:
        """Family, number of weights, their levels and bytes, and the context, in one line."""
        packed = [module for module in self.module.modules() if isinstance(module, PackedMatrix)]
        count = self.module.parameter_count() + sum(len(matrix.codes) * matrix.columns for matrix in packed)
        size = (self.directory / "model.safetensors").stat().st_size
        levels = " and ".join(map(str, sorted({matrix.levels for matrix in packed})))
        weights = f"packed at {levels} levels" if packed else "float"
        family, window = self.config["quintet"]["family"], "recurrent" if self.module.recurrent else f"window {self.module.context}"
        return f"{family}, {count:,} weights, {weights}, {size:,} bytes, {8 * size / count:.2f} bits a weight, {window}"


def find(named: str | None, task: str, as_float: bool = False) -> Path:
    """The model directory that `named` means, for a task.

    That is a directory, one of the files in it, or a model of params.yaml: its packed directory where there is one, its float one by
    `as_float`. Without a name it is the first model of params.yaml that is made and has the task. Raises `UserError`.
    """
    if named is None:
        return _first(task, as_float)
    path = Path(named).expanduser()
    if path.is_file():
        if path.name not in paths.MODEL_FILES:
            raise UserError(f"{path} is not one of a model directory's files ({', '.join(paths.MODEL_FILES)}): name the directory")
        path = path.parent
    if path.is_dir():
        if as_float:
            raise UserError(f"{path} is a directory, which is opened as it is: leave --float out, or name a model")
        return _checked(path, task)
    made = made_as(named, as_float)
    if made is None:
        raise UserError(f"{named} is no model directory, and no model of that name is made here: {_remedy(as_float)}")
    return _checked(made, task)


def made_as(name: str, as_float: bool) -> Path | None:
    """The directory of a model of this project, the packed one first; None where there is none yet."""
    candidates = [paths.model(name)] if as_float else [paths.quantized(name), paths.model(name)]
    return next((path for path in candidates if (path / "config.json").is_file()), None)


def _first(task: str, as_float: bool) -> Path:
    from pipeline import config

    paths.require_project()
    made = [path for name in config.load().models if (path := made_as(name, as_float))]
    fitting = [path for path in made if _task(path) == task]
    if not fitting:
        raise UserError(f"no model that {TOOLS[task].partition(':')[0]} is made here: {_remedy(as_float)}")
    return fitting[0]


def _remedy(as_float: bool) -> str:
    rooms = {paths.model("*"), paths.model("*") if as_float else paths.quantized("*")}
    names = sorted({path.parent.name for room in rooms for path in Path().glob(f"{room}/config.json")})
    return f"name one of {', '.join(names)}, or a directory" if names else "run `make repro`, or name a model directory"


def _task(directory: Path) -> str:
    return str(models.read_config(directory)["quintet"].get("task", "language"))


def _checked(directory: Path, task: str) -> Path:
    """The directory, if its model has the task."""
    if (found := _task(directory)) != task:
        raise UserError(f"the model of {directory} {TOOLS.get(found, f'is for {found}, and there is no tool to ask it')}")
    return directory


def open_model(directory: Path) -> Trained:
    """A float or packed model directory, ready to be asked; raises `UserError` for what is missing or damaged."""
    from pipeline import quantization

    config = models.read_config(directory)
    load = quantization.load if "quantization_config" in config else models.load
    return Trained(directory, config, load(directory), tokenizers.load(directory))
