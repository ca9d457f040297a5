"""Checkpoints of a RealNet: one safetensors file that holds weights, settings, the optimizer's moments and what the user adds; no pickle.

A file is written whole or not at all, and `load` rebuilds the network from it alone.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline import io
from pipeline import tensors as tensor_files
from pipeline.errors import UserError
from pipeline.models.realnet.network import RealNet
from pipeline.progress import say

VERSION = 1
FIELDS = {"settings", "epsilon", "initial_scale", "epoch", "loss", "extra"}
"""What the record of every checkpoint holds."""
Location = str | os.PathLike[str]


def save_checkpoint(
    model: RealNet,
    optimizer: torch.optim.Optimizer | None,
    epoch: int,
    loss: float,
    path: Location,
    extra_data: Mapping[str, Any] | None = None,
) -> None:
    """Write weights, settings, moments, epoch and loss. `extra_data` is anything that JSON can hold, numpy's and torch's numbers included;
    else `ValueError`."""
    model = own(model)
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    record: dict[str, Any] = {"settings": model.settings, "epsilon": model.epsilon, "initial_scale": model.initial_scale}
    if optimizer is not None:
        state = optimizer.state_dict()
        record["groups"] = [{key: value for key, value in group.items() if key != "params"} for group in state["param_groups"]]
        tensors |= {
            f"optimizer.{index}.{key}": torch.as_tensor(value)
            for index, moments in state["state"].items()
            for key, value in moments.items()
        }
    record |= {"version": VERSION, "epoch": int(epoch), "loss": float(loss), "extra": dict(extra_data or {})}
    try:
        text = json.dumps(record, sort_keys=True, default=_number)
    except TypeError as error:
        raise ValueError(f"extra_data cannot be kept: {error}; give numbers, texts, lists and dictionaries") from None
    data = save({name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}, {"realnet": text})
    io.write_bytes(Path(path), data)


def own(model: RealNet) -> RealNet:
    """The network inside of what `torch.compile` wraps around it, so that its tensors go by their own names."""
    inner: RealNet = getattr(model, "_orig_mod", model)
    return inner


def _number(value: Any) -> Any:
    """Arrays and numbers of numpy and torch as JSON's."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no JSON value")


def load_checkpoint(
    model: RealNet, optimizer: torch.optim.Optimizer | None, path: Location, device: str | torch.device = "cpu", strict: bool = True
) -> dict[str, Any]:
    """Put a checkpoint's weights and moments into a network of the same sizes; returns epoch, loss and what `extra_data` was.

    With `strict=False` sizes may differ: what both have is loaded (see `transplant_weights` for a copy by role), moments where they fit.
    `ValueError` names the file and the first thing that does not fit.
    """
    model, (tensors, record) = own(model), read(path, device)
    weights = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    ours = model.state_dict()
    misfits = sorted(n for n in ours.keys() | weights.keys() if n not in ours or n not in weights or ours[n].shape != weights[n].shape)
    if misfits and strict:
        name = misfits[0]
        here, there = (list(held[name].shape) if name in held else "absent" for held in (ours, weights))
        raise ValueError(f"{path}: {name} is {there} there but {here} in the network: build one by load(path), or say strict=False")
    with torch.no_grad():
        for name in ours.keys() & weights.keys():
            overlap = tuple(slice(min(sizes)) for sizes in zip(ours[name].shape, weights[name].shape, strict=True))
            ours[name][overlap] = weights[name][overlap].to(ours[name])
    if not misfits:
        model.epsilon, model.initial_scale = record["epsilon"], record["initial_scale"]
    if optimizer is not None and not misfits:
        _load_moments(optimizer, tensors, record, path)
    return {"epoch": record["epoch"], "loss": record["loss"], "extra_data": record["extra"]}


def _load_moments(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], record: Mapping[str, Any], path: Location) -> None:
    if "groups" not in record:
        raise ValueError(f"{path} holds no optimizer: load it with optimizer=None")
    own = optimizer.state_dict()
    if len(own["param_groups"]) != len(record["groups"]):
        raise ValueError(f"{path} holds {len(record['groups'])} groups of parameters, the optimizer has {len(own['param_groups'])}")
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    groups = [{**saved, "params": group["params"]} for saved, group in zip(record["groups"], own["param_groups"], strict=True)]
    try:
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{path}: its moments are not this optimizer's ({error!r}): load it with optimizer=None") from None


def load(path: Location, device: str | torch.device = "cpu") -> RealNet:
    """The network that a checkpoint holds, grown as it was, ready for inference. `ValueError` names file and field, as `read`."""
    tensors, record = read(path)
    _require_held(record["settings"], sum(tensor.numel() for tensor in tensors.values()), path)
    try:
        model = RealNet(**record["settings"], device=device)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{path}: the settings of its record describe no network ({error})") from None
    load_checkpoint(model, None, path, device)
    return model.eval()


def _require_held(settings: Any, weights: int, path: Location) -> None:
    """`ValueError` for sizes that the file's weights cannot fill, before memory is taken for them."""
    neurons, widths = (settings.get(key) for key in ("num_neurons", "vocab_size")) if isinstance(settings, dict) else (None, None)
    if not isinstance(neurons, int) or neurons**2 > weights:
        raise ValueError(f"{path}: the settings of its record ask for {neurons!r} neurons, but it holds {weights} weights")
    if any(isinstance(width, int) and width > weights for width in (widths if isinstance(widths, list) else [widths])):
        raise ValueError(f"{path}: the settings of its record ask for a vocab_size of {widths!r}, but it holds {weights} weights")


def get_checkpoint_info(path: Location, device: str | torch.device = "cpu") -> dict[str, Any]:
    """epoch, loss, num_neurons, total_params, settings and extra_data, without building a network."""
    tensors, record = read(path, device)
    return {
        "epoch": record["epoch"],
        "loss": record["loss"],
        "num_neurons": record["settings"]["num_neurons"],
        "total_params": sum(tensor.numel() for name, tensor in tensors.items() if name.startswith("model.")),
        "settings": record["settings"],
        "extra_data": record["extra"],
    }


def read(path: Location, device: str | torch.device = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All tensors and the record of a checkpoint. `ValueError` for a file that is damaged, not ours, or of a newer version."""
    if Path(path).exists():
        try:
            tensor_files.read_header(Path(path), "save the network again")
        except UserError as error:
            raise ValueError(f"{path} is damaged or no checkpoint ({error})") from None
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no checkpoint ({error})") from None
    if "realnet" not in metadata:
        raise ValueError(f"{path} is a safetensors file, but no checkpoint of a RealNet")
    try:
        record = json.loads(metadata["realnet"])
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or "version" not in record:
        raise ValueError(f"{path}: the record `realnet` of its header is damaged")
    if record["version"] != VERSION:
        raise ValueError(f"{path} is of version {record['version']!r:.20}; this program reads version {VERSION}")
    if missing := FIELDS - record.keys():
        raise ValueError(f"{path}: the record `realnet` of its header lacks {min(missing)}")
    return tensors, record


def transplant_weights(model: RealNet, checkpoint_path: Location, device: str | torch.device = "cpu", verbose: bool = True) -> int:
    """Copy what a smaller or larger network learned, by role: input neuron to input neuron, output to output, hidden to hidden.

    The k-th input neuron takes the place of the k-th, and so on; where the source has more hidden neurons than fit, those with the largest
    sum of absolute weights go. What has no counterpart stays as it is. Returns the number of weights copied; `ValueError` if there is none.
    """
    model, (tensors, record) = own(model), read(checkpoint_path, device)
    weights = {name.removeprefix("model."): tensor.to(model.device) for name, tensor in tensors.items() if name.startswith("model.")}
    pairs = _pairs(record["settings"], model, weights["W"])
    if not pairs:
        raise ValueError(f"{checkpoint_path} and the network have no neurons of a common role: nothing can be transplanted")
    theirs, ours = (torch.tensor(side, device=model.device) for side in zip(*pairs, strict=True))
    copied = 0
    with torch.no_grad():
        model.W[ours[:, None], ours] = weights["W"][theirs[:, None], theirs]
        model.b[ours], model.gain[ours] = weights["b"][theirs], weights["gain"][theirs]
        copied += len(pairs) ** 2 + 2 * len(pairs)
        kept = model.state_dict()
        for name in sorted((kept.keys() & weights.keys()) - {"W", "b", "gain"}):
            overlap = tuple(slice(min(sizes)) for sizes in zip(kept[name].shape, weights[name].shape, strict=True))
            kept[name][overlap] = weights[name][overlap]
            copied += kept[name][overlap].numel()
    if verbose:
        say(f"transplanted {len(pairs)} of {model.num_neurons} neurons, {copied} weights")
    return copied


def _pairs(source: Mapping[str, Any], model: RealNet, W: Tensor) -> list[tuple[int, int]]:
    """(neuron there, neuron here) for neurons of the same role; a neuron that is input and output counts as an input."""
    there = _roles(source["num_neurons"], source["input_ids"], source["output_ids"])
    here = _roles(model.num_neurons, model.input_ids, model.output_ids)
    strength = W.abs().sum(0) + W.abs().sum(1)
    if len(there[2]) > len(here[2]):
        strongest = sorted(there[2], key=lambda neuron: (-float(strength[neuron]), neuron))[: len(here[2])]
        there = (there[0], there[1], sorted(strongest))
    return [pair for theirs, ours in zip(there, here, strict=True) for pair in zip(theirs, ours, strict=False)]


def _roles(neurons: int, inputs: list[int], outputs: list[int]) -> tuple[list[int], list[int], list[int]]:
    readers = [neuron for neuron in outputs if neuron not in set(inputs)]
    return inputs, readers, [neuron for neuron in range(neurons) if neuron not in {*inputs, *outputs}]
