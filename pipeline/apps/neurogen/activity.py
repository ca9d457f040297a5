"""A brain watched while it reads: the spikes of every internal step, and the currents that its connections carry.

Shapes: T tokens, S internal steps of a token's cycle (all phases one after the other), N neurons of a module.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline.models.neurogen import Brain, anatomy
from pipeline.models.neurogen.brain import Cycle
from pipeline.models.neurogen.neurons import BETA, HEIGHT, RHO
from pipeline.ops.phase import phase_run


class Activity(NamedTuple):
    """Of one stream."""

    spikes: dict[str, Tensor]
    """[N, T, S] of each module: 0 outside of its phase."""
    flow: dict[str, Tensor]
    """[T] of each connection: root mean square of what it adds to its target."""
    phases: dict[str, int]
    """Internal steps of each phase."""


@torch.no_grad()
def watch(brain: Brain, tokens_BT: Tensor) -> Activity:
    """Read one stream [1, T] from rest."""
    phases = {phase: int(brain.config["phase_steps"][phase]) for phase in anatomy.PHASES}
    spikes: dict[str, list[Tensor]] = {name: [] for name in anatomy.MODULES}
    flow: dict[str, list[Tensor]] = {c.name: [] for c in anatomy.CONNECTIONS}
    linears: Any = brain.wiring
    hooks = [linears[name].register_forward_hook(_listener(heard)) for name, heard in flow.items()]
    cycle = brain.cycle(brain.initial_state(1))
    try:
        for token_B, drive_BN in zip(tokens_BT.unbind(1), brain.embed_tokens(tokens_BT).unbind(1), strict=True):
            before = dict(cycle.cells)
            cycle.token(token_B, drive_BN)
            for name, found in _spikes(cycle, before).items():
                spikes[name].append(_in_its_phase(name, found, phases))
    finally:
        for hook in hooks:
            hook.remove()
    return Activity({m: torch.stack(s, 1) for m, s in spikes.items()}, {c: torch.stack(f) for c, f in flow.items()}, phases)


def _listener(heard: list[Tensor]) -> Any:
    def listen(_module: Any, _inputs: Any, output: Tensor) -> None:
        heard.append(output.square().mean().sqrt())

    return listen


def _spikes(cycle: Cycle, before: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Each module's last phase again, one internal step at a time: [N, steps]."""
    found = {}
    for name, cells in before.items():
        neurons: Any = cycle.brain.neurons[name]
        current, modulation, rhythm = cycle.inputs[name]
        steps = []
        for _ in range(neurons.steps):
            inputs = (current, neurons.gain, neurons.bias, modulation, *rhythm, *cells)
            fired, *cells = phase_run(*inputs, steps=1, rho=RHO, beta=BETA, height=HEIGHT)  # type: ignore[assignment]
            steps.append(fired[0])
        found[name] = torch.stack(steps, 1)
    return found


def _in_its_phase(name: str, spikes: Tensor, phases: dict[str, int]) -> Tensor:
    """Steps of a phase at their place in the cycle."""
    whole, start = spikes.new_zeros(len(spikes), sum(phases.values())), 0
    for phase, steps in phases.items():
        if name in anatomy.PHASES[phase]:
            whole[:, start : start + steps] = spikes
        start += steps
    return whole
