"""The spiking run on CUDA devices: registered for `quintet::spiking` by pipeline.ops.spiking."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from pipeline.ops import native

_known: Any = WeakTensorKeyDictionary()


def wiring(places: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The blocks by the tile where they end and by that where they begin: each int64 [count + 1 + 2 K], on the device of `places`.

    First where each tile's list starts, then the lists of blocks, then the tiles of their other ends. `places` [K, 2] is read back to be
    checked, and kept in mind until it changes or dies: the runs that follow copy nothing to the host. `ValueError` as the CPU's.
    """
    version, known = _known.get(places, (None, None))
    if version != (places._version, count):
        host = places.cpu()
        wrong = ((host < 0) | (host >= count)).nonzero()
        if len(wrong):
            k, end = wrong[0].tolist()
            raise ValueError(f"places[{k}, {end}] = {host[k, end]} must be a block from 0 to {count - 1}")
        known = tuple(_lists(host[:, end], host[:, 1 - end], count).to(places.device) for end in (1, 0))
        _known[places] = (places._version, count), known
    return known


def _lists(ends: Tensor, others: Tensor, count: int) -> Tensor:
    order = torch.argsort(ends, stable=True)
    return torch.cat([torch.searchsorted(ends[order].contiguous(), torch.arange(count + 1)), order, others[order]])


def _words(drive: Tensor, block: int, steps: int = 1) -> Tensor:
    """Room for a word of spikes for each stream of each tile of neurons."""
    return drive.new_empty(steps * drive.shape[0] * (drive.shape[2] // block), dtype=torch.int64)


def _prepared(inputs: list[Any]) -> tuple[int, int, tuple[Tensor, Tensor]]:
    """Size of blocks, their number along a side, and the wiring; what is no block is left to the extension to refuse."""
    weight, places, drive = inputs[0], inputs[1], inputs[6]
    block = max(weight.shape[1], 1)
    if places.dtype != torch.int64 or places.dim() != 2 or places.shape[1] != 2:
        raise ValueError(f"places must be int64 [K, 2], not {str(places.dtype).removeprefix('torch.')} {list(places.shape)}")
    count = drive.shape[2] // block
    return block, count, wiring(places, count)


def forward(inputs: list[Any], numbers: Any, keep: bool, outputs: tuple[Tensor, ...]) -> None:
    """Fill `outputs` as `quintet::spiking` returns them."""
    drive = inputs[6]
    block, _, (into, _) = _prepared(inputs)
    spikes, last, distances, adaptations, spike_bits, ready_bits = outputs
    bits = spike_bits if keep else _words(drive, block, drive.shape[1])
    kept = distances, adaptations, bits, ready_bits
    native.call_cuda("spiking_forward", drive.device, *inputs, numbers, into, _words(drive, block), keep, spikes, last, *kept)


def backward(inputs: list[Any], numbers: Any, rest: list[Any], gradients: tuple[Tensor, ...]) -> None:
    """Fill `gradients`; `rest` is what the forward pass kept and the gradients of its two results."""
    weight, drive = inputs[0], inputs[6]
    block, _, (_, out_of) = _prepared(inputs)
    groups = -(-drive.shape[0] // native.module().SPIKING_STREAMS)
    room = weight.transpose(1, 2).contiguous(), drive.new_empty(3, groups, drive.shape[2]), _words(drive, block)
    native.call_cuda("spiking_backward", drive.device, *inputs, numbers, out_of, *room, *rest, *gradients)
