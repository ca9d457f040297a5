"""The family `neurogen`: see `brain`."""

from collections.abc import Mapping
from typing import Any

import torch

from pipeline import rng
from pipeline.models.neurogen import anatomy
from pipeline.models.neurogen.brain import Brain, Recording, State
from pipeline.models.neurogen.lesions import Lesions

__all__ = ["Brain", "Lesions", "Recording", "State", "build", "configuration", "initialize"]


def configuration(architecture: Any, vocab_size: int, eos: int | None, quintet: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of a model, from the family's block of params.yaml."""
    a = architecture
    return {
        "model_type": "neurogen",
        "vocab_size": vocab_size,
        "context": a.context,
        "neurons": {name: getattr(a, name) for name in anatomy.MODULES},
        "key_size": a.key_size,
        "phase_steps": {phase: getattr(a, f"{phase}_steps") for phase in anatomy.PHASES},
        "fan_in": a.fan_in,
        "learning": a.learning,
        "rate_penalty": a.rate_penalty,
        "eos_token_id": eos,
        "quintet": {**quintet, "family": "neurogen"},
    }


def build(config: Mapping[str, Any]) -> Brain:
    """A brain whose weights mean nothing yet: `initialize` it or load them."""
    return Brain(config)


@torch.no_grad()
def initialize(module: Brain, seed: int) -> None:
    """Normal weights from one random stream a tensor; what a `Neurons` holds starts as it was built.

    A row's weights are scaled for about 15 % of its inputs firing.
    """
    gains = {f"wiring.{c.name}.weight": c.gain for c in anatomy.CONNECTIONS}
    for name, parameter in module.named_parameters():
        stream = rng.generator(seed, "initialize", name)
        if name == "embed_tokens.weight":
            parameter.normal_(0.0, 0.5, generator=stream)
        elif name in gains:
            parameter.normal_(0.0, 0.5 * gains[name] / (0.15 * parameter.shape[1] + 1) ** 0.5, generator=stream)
        elif name == "lm_head.weight":
            parameter.normal_(0.0, 0.3 / (0.15 * parameter.shape[1] + 1) ** 0.5, generator=stream)
    module.lm_head.bias.zero_()
    slow = torch.empty(module.gate.bias.shape).uniform_(*anatomy.PREFRONTAL_DECAY, generator=rng.generator(seed, "initialize", "decay"))
    module.gate.bias.copy_(slow.logit())
