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
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from pipeline import io
from pipeline.errors import UserError
from pipeline.models.base import Model

FAMILIES = {"transformer": "pipeline.models.transformer"}

MOST_POSITIONS = 1 << 20
"""The longest context of a directory that is read: its tables take memory that no weight stands for."""


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
    config = read_config(directory)
    state = read_tensors(directory / "model.safetensors")
    check_sizes(config, sum(tensor.numel() for tensor in state.values()), directory / "config.json")
    try:
        module = build(config)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{directory}/config.json describes no model that can be built ({error!r}): train the model again") from None
    expected = module.state_dict()
    wrong = sorted(name for name in expected.keys() | state.keys() if _shape(expected, name) != _shape(state, name))
    if wrong:
        name = wrong[0]
        found, asked = _shape(state, name), _shape(expected, name)
        raise UserError(
            f"{directory}/model.safetensors: config.json asks for {name} to be {asked}, but it is {found}: train the model again"
        )
    module.load_state_dict(state)
    return module.eval()


def context(config: Mapping[str, Any]) -> int:
    """Tokens of a window that a model of this config.json was trained on; for a family without a recurrent state, the most it can see."""
    return int(config["context"] if recurrent(config) else config["max_position_embeddings"])


def recurrent(config: Mapping[str, Any]) -> bool:
    """Whether a model of this config.json has a recurrent state (`base.Model.recurrent`)."""
    return bool(config["quintet"].get("recurrent", False))


def check_sizes(config: Mapping[str, Any], weights: int, path: Path) -> None:
    """Raise `UserError` where a size in a config.json is larger than the number of weights allows, before memory is taken for it."""
    for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim"):
        if isinstance(size := config.get(key), int) and size > weights:
            raise UserError(f"{path}: {key} is {size}, but the model has {weights} weights: train the model again")
    if isinstance(positions := config.get("max_position_embeddings"), int) and positions > MOST_POSITIONS:
        raise UserError(f"{path}: max_position_embeddings is {positions}, but at most {MOST_POSITIONS} can be read: train the model again")


def _shape(tensors: Mapping[str, Tensor], name: str) -> str:
    return f"of shape {list(tensors[name].shape)}" if name in tensors else "absent"


def read_config(directory: Path) -> dict[str, Any]:
    """config.json of a model directory; raises `UserError` where it was not made here."""
    config = io.read_json(directory / "config.json")
    section = config.get("quintet") if isinstance(config, dict) else None
    if not isinstance(section, dict) or "family" not in section:
        raise UserError(
            f"{directory}/config.json has no section `quintet` that names the family: give a model directory that was trained here"
        )
    return dict(config)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file; raises `UserError` where it is missing or damaged."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run the stage that makes it (`dvc repro` runs all that is needed)") from None
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}): delete it and run the stage that makes it again") from None


def save(tensors: Mapping[str, Tensor], config: Mapping[str, Any], model_file: Path, config_file: Path) -> None:
    """Write a model's two files; the tensors' order in the file depends on their names and types only."""
    plain = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    io.write_bytes(model_file, to_bytes(plain, {"format": "pt"}))
    io.write_json(config_file, dict(config))
