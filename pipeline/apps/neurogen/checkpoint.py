"""Checkpoints of the library: one safetensors file, written whole or not at all, in which a changed byte is noticed.

Tensors are named `weights/...`, `optimizer/INDEX/KEY` and `state/...`; `record` is the rest, as the bytes of a JSON text. The
checksum in the header is of all tensors, so of the record too, and in that is the digest of the header's names, types and shapes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from pipeline import io, models, tensors
from pipeline.errors import UserError

FORMAT = {"format": "neurogen checkpoint", "version": "1"}
AGAIN = "load another checkpoint"

Groups = dict[str, dict[str, Tensor]]


def write(path: Path, groups: Groups, record: dict[str, Any]) -> None:
    """Write a checkpoint; `RuntimeError` where the file cannot be written."""
    named = {f"{group}/{name}": tensor for group, members in groups.items() for name, tensor in members.items()}
    held = {name: named[name].detach().cpu().contiguous() for name in sorted(named)}
    text = json.dumps({**record, "layout": _layout(held)}, sort_keys=True)
    held["record"] = torch.tensor(list(text.encode()), dtype=torch.uint8)
    try:
        io.write_bytes(path, tensors.seal(save(held), FORMAT))
    except OSError as error:
        raise RuntimeError(f"{path} cannot be written ({error.strerror})") from None


def read(path: Path) -> tuple[Groups, dict[str, Any]]:
    """Groups of tensors, and the record; `RuntimeError` for a file that is missing, damaged, or no checkpoint."""
    try:
        header = tensors.read_header(path, AGAIN)
        tensors.verify(path, header, AGAIN)
        held = load(path.read_bytes())
    except UserError as error:
        raise RuntimeError(str(error)) from None
    if {key: value for key, value in header.metadata.items() if key != "sha256"} != FORMAT or "record" not in held:
        raise RuntimeError(f"{path} is no checkpoint of NeuroGen: {AGAIN}")
    record: dict[str, Any] = json.loads(bytes(held.pop("record").tolist()))
    if record.pop("layout") != _layout(held):
        raise RuntimeError(f"{path}: names, types or shapes are not what was written: the file is damaged, so {AGAIN}")
    groups: Groups = {"weights": {}, "optimizer": {}, "state": {}}
    for name, tensor in held.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = tensor
    return groups, record


def _layout(held: dict[str, Tensor]) -> str:
    return io.digest({name: [str(tensor.dtype), list(tensor.shape)] for name, tensor in held.items()})


def brain(path: Path, config: dict[str, Any], weights: dict[str, Tensor]) -> Any:
    """The module of a configuration and a checkpoint's weights; `RuntimeError` where they do not fit each other."""
    try:
        return models.assemble(config, weights, path, path)
    except UserError as error:
        raise RuntimeError(str(error)) from None


def of_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimizer remembers of each weight, by name."""
    state = optimizer.state_dict()["state"]
    return {f"{index}/{key}": tensor for index, held in state.items() for key, tensor in held.items()}


def into_optimizer(path: str | Path, optimizer: torch.optim.Optimizer, held: dict[str, Tensor]) -> None:
    """Give back what `of_optimizer` took; `RuntimeError` where it is not of these weights."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    indices = {int(name.partition("/")[0]) for name in held if name.partition("/")[0].isdecimal()}
    wanted = {
        f"{index}/{key}": torch.zeros(()) if key == "step" else weights[index].detach()
        for index in indices & set(range(len(weights)))
        for key in ("step", "exp_avg", "exp_avg_sq")
    }
    require_alike(path, held, wanted)
    state = {i: {key: held[f"{i}/{key}"] for key in ("step", "exp_avg", "exp_avg_sq")} for i in sorted(indices)}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def entry(path: str | Path, record: dict[str, Any], key: str, kind: type) -> Any:
    """An entry of the record; `RuntimeError` where it is not there."""
    if not isinstance(record.get(key), kind):
        raise RuntimeError(f"{path}: its record has no {key}: {AGAIN}")
    return record[key]


def require_alike(path: str | Path, held: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise `RuntimeError` where tensors differ from those wanted in name, type or shape."""
    for name in sorted(held.keys() | wanted.keys()):
        if (found := models.kind(held, name)) != (needed := models.kind(wanted, name)):
            raise RuntimeError(f"{path}: {name} is {found}, but must be {needed}: {AGAIN}")
