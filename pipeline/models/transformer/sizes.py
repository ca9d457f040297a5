"""Which sizes a transformer's config.json can have."""

import math
from collections.abc import Mapping
from typing import Any

COUNTS = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size")
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys((*COUNTS, "max_position_embeddings"), (int,)),
    **dict.fromkeys(("rms_norm_eps", "rope_theta"), (int, float)),
    "tie_word_embeddings": (bool,),
}


def require_possible(config: Mapping[str, Any]) -> None:
    """Raise `ValueError` naming a key whose value no transformer can have; `KeyError` where it is missing."""
    for key, kinds in KINDS.items():
        if type(config[key]) not in kinds or (bool not in kinds and not 0 < config[key] < math.inf):
            raise ValueError(f"{key} is {config[key]!r}")
    if config["head_dim"] % 2:
        raise ValueError(f"head_dim is {config['head_dim']}, which is odd")
    if config["num_attention_heads"] % config["num_key_value_heads"]:
        raise ValueError(f"num_attention_heads is {config['num_attention_heads']}, no multiple of {config['num_key_value_heads']}")
