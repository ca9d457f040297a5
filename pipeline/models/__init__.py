"""Model families behind one protocol (`base.Model`), and their directories.

A family is a folder here, one of whose files has `configuration`, `build` and `initialize`. Its module answers

    logits_BTV, state = module(tokens_BT, state)    # state: None, or what `initial_state` made (a cache, a recurrent state)
    module.initial_state(batch_size, length)        # the state before the first of at most `length` tokens
    module.context                                  # the most tokens it can see at once; of a recurrent one, those of a training window
    module.recurrent                                # whether its state has a fixed size, so that it can read on for ever
    module.quantizable()                            # name -> matrix: every linear and embedding, tied ones once
    module.config                                   # the directory's config.json
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pipeline import io
from pipeline import tensors as tensor_files
from pipeline.errors import UserError
from pipeline.models.base import Model

FAMILIES = {
    "transformer": "pipeline.models.transformer",
    "gru": "pipeline.models.gru",
    "realnet": "pipeline.models.realnet.family",
    "pentary": "pipeline.models.pentary.classifier",
    "neurogen": "pipeline.models.neurogen",
}

VERSION = 1
"""Of the directories' form: `quintet.version` in config.json."""
AGAIN = "run the stage that makes it again (`dvc repro` runs all that is needed)"
SIZES = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim"),
    *("embedding_size", "num_neurons", "input_neurons", "output_neurons"),
)
"""Keys of a config.json that no model can have more of than weights."""
MOST_ANGLES = 1 << 26
"""Positions times channels of a directory that is read: such tables take memory that no weight stands for."""


def family(name: str) -> ModuleType:
    """The family's file; raises `UserError` for an unknown name."""
    if name not in FAMILIES:
        raise UserError(f"there is no model family {name!r}: this version has {', '.join(FAMILIES)}")
    return importlib.import_module(FAMILIES[name])


def build(config: Mapping[str, Any]) -> Model:
    """A module of a config.json's sizes whose weights are still to be loaded or initialised."""
    module: Model = family(config["quintet"]["family"]).build(config)
    return module


def create(config: Mapping[str, Any], seed: int) -> Model:
    """A new module at the start of its training."""
    module = build(config)
    family(config["quintet"]["family"]).initialize(module, seed)
    return module


def load(directory: Path) -> Model:
    """The float model of a directory, ready for inference; raises `UserError` where files are missing, damaged or do not fit each other."""
    config, path = read_config(directory), directory / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in read_tensors(path).items()}  # out of the mapped file
    return assemble(config, tensors, directory / "config.json", path)


def assemble(config: Mapping[str, Any], state: Mapping[str, Tensor], config_file: Path, path: Path) -> Model:
    """The model of a configuration and tensors, which it takes as they are; raises `UserError` where they do not fit each other."""
    check_sizes(config, sum(tensor.numel() for tensor in state.values()), len(state), config_file)
    module = hollow(config, config_file)
    expected = module.state_dict()
    for name in sorted(expected.keys() | state.keys()):
        if (wanted := kind(expected, name)) != (found := kind(state, name)):
            raise UserError(f"{path}: {config_file.name} asks for {name} to be {wanted}, but it is {found}: {AGAIN}")
    require_finite(state, path)
    module.load_state_dict(dict(state), assign=True)
    return module.eval()


def require_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Raise `UserError` where a tensor of a file holds what is no number."""
    for name, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise UserError(f"{path}: {name} holds weights that are not finite: {AGAIN}")


def context(config: Mapping[str, Any]) -> int:
    """Tokens of a window that a model of this config.json was trained on; for a family without a recurrent state, the most it can see."""
    return int(config["context"] if recurrent(config) else config["max_position_embeddings"])


def recurrent(config: Mapping[str, Any]) -> bool:
    """Whether a model of this config.json has a recurrent state (`base.Model.recurrent`)."""
    return bool(config["quintet"].get("recurrent", False))


def check_sizes(config: Mapping[str, Any], weights: int, tensors: int, path: Path) -> None:
    """Raise `UserError` where a size in a config.json is more than the numbers of weights and tensors allow, before it costs anything."""
    most = {"num_hidden_layers": (tensors, "tensors"), **dict.fromkeys(SIZES, (weights, "weights"))}
    for key, (limit, what) in most.items():
        if isinstance(size := config.get(key), int) and size > limit:
            raise UserError(f"{path}: {key} is {size}, but the model has {limit} {what}: {AGAIN}")
    positions, channels = config.get("max_position_embeddings"), config.get("head_dim", 1)
    if isinstance(positions, int) and isinstance(channels, int) and positions * channels > MOST_ANGLES:
        most_positions = MOST_ANGLES // max(channels, 1)
        raise UserError(f"{path}: max_position_embeddings is {positions}, but at most {most_positions} can be read: {AGAIN}")


def hollow(config: Mapping[str, Any], path: Path) -> Model:
    """A module whose parameters take no memory, to be given the tensors of a file; raises `UserError` for a config.json of no model."""
    try:
        with _Hollow():
            return build(config)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        what = next(iter(str(error).splitlines()), "")  # torch's messages go on with a trace
        raise UserError(f"{path} describes no model that can be built ({type(error).__name__}: {what!r}): {AGAIN}") from None


class _Hollow(TorchFunctionMode):
    """Makes `torch.empty`, from which modules make their parameters, take no memory: they are replaced before they are used.

    Nor are they initialised: for a tensor without memory torch would load its compiler first, which takes longer than all the rest.
    """

    def __torch_function__(self, function: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None) -> Any:
        tensor = (kwargs or {}).get("tensor")
        if getattr(function, "__module__", "") == nn.init.__name__ and isinstance(tensor, Tensor) and tensor.is_meta:
            return tensor
        device = {"device": "meta"} if function is torch.empty else {}
        return function(*args, **{**(kwargs or {}), **device})


def kind(tensors: Mapping[str, Tensor], name: str) -> str:
    """Type and shape of a tensor, in words."""
    if name not in tensors:
        return "absent"
    return f"{str(tensors[name].dtype).removeprefix('torch.')} of shape {list(tensors[name].shape)}"


def read_config(directory: Path) -> dict[str, Any]:
    """config.json of a model directory; raises `UserError` where it was not made here, or by a newer version."""
    path = directory / "config.json"
    config = io.read_json(path)
    section = config.get("quintet") if isinstance(config, dict) else None
    if not isinstance(section, dict) or not isinstance(section.get("family"), str):
        raise UserError(f"{path} has no section `quintet` that names the family: give a model directory that was trained here")
    io.check_version(path, "quintet.version", section.get("version", 1), VERSION)
    return dict(config)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file; raises `UserError` where it is missing or damaged."""
    header = tensor_files.read_header(path, AGAIN)
    if "sha256" in header.metadata:
        tensor_files.verify(path, header, AGAIN)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}): {AGAIN}") from None


def save(tensors: Mapping[str, Tensor], config: Mapping[str, Any], model_file: Path, config_file: Path) -> None:
    """Write a model's two files; the tensors' order in the file depends on their names and types only."""
    plain = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    io.write_bytes(model_file, tensor_files.seal(to_bytes(plain), {"format": "pt"}))
    io.write_json(config_file, {**config, "quintet": {**config["quintet"], "version": VERSION}})
