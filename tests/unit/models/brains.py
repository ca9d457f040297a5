"""A small brain and texts for it."""

import torch

from pipeline.models import neurogen
from pipeline.models.neurogen import anatomy

VOCABULARY = 11
SIZES = {"thalamus": 32, "wernicke": 48, "hippocampus": 32, "prefrontal": 48, "basal_ganglia": 16, "broca": 48}


def brain(seed: int = 1, **changes) -> neurogen.Brain:
    config = {
        "vocab_size": VOCABULARY,
        "context": 16,
        "neurons": SIZES,
        "key_size": 16,
        "phase_steps": dict.fromkeys(anatomy.PHASES, 1),
        "density": 1.0,
        "learning": "bptt",
        "rate_penalty": 0.1,
        "quintet": {"family": "neurogen"},
    }
    module = neurogen.build(config | changes)
    neurogen.initialize(module, seed)
    return module.eval()


def text(streams: int = 3, length: int = 12, seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCABULARY, (streams, length), generator=torch.Generator().manual_seed(seed))
