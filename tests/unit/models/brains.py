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
        "fan_in": None,
        "learning": "bptt",
        "rate_penalty": 0.1,
        "quintet": {"family": "neurogen"},
    }
    module = neurogen.build(config | changes)
    neurogen.initialize(module, seed)
    return module.eval()


def filled(sparse: neurogen.Brain) -> neurogen.Brain:
    """The dense brain with the same weights, and zeros where the sparse one has no synapses."""
    module = brain(**{**sparse.config, "fan_in": None})
    tensors = dict(sparse.state_dict())
    for name, layer in sparse.wiring.items():
        places = layer.sources.repeat_interleave(16, 0)[: layer.out_features].long()
        whole = torch.zeros(layer.out_features, layer.in_features)
        tensors[f"wiring.{name}.weight"] = whole.scatter_(1, places, layer.weight.detach())
    module.load_state_dict(tensors)
    return module.train(sparse.training)


def text(streams: int = 3, length: int = 12, seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCABULARY, (streams, length), generator=torch.Generator().manual_seed(seed))
