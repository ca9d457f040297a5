"""Real prompts for the comparison of exports: from the validation split, evenly spread over it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline import models
from pipeline.data import shards, windows
from pipeline.data.arithmetic import Codec

COUNT = 64
LONGEST = 128


class Prompts(NamedTuple):
    """Token sequences of one length, of which the first `given` tokens are the prompt and the others the text that followed."""

    tokens_BT: Tensor
    given: int


def take(ready: Path, config: Mapping[str, Any]) -> Prompts:
    """Up to `COUNT` prompts for a model's config.json: halves of windows of text (of `LONGEST` tokens at most), or arithmetic problems."""
    tokens = shards.open(ready / "validation.safetensors")["tokens"]
    if config["quintet"]["task"] == "arithmetic":
        rows, given = tokens, Codec.from_dict(config["quintet"]["codec"]).prompt_length
    else:
        rows = windows.full(tokens, min(models.context(config), LONGEST))[:, :-1]
        given = rows.shape[1] // 2
    chosen = np.linspace(0, len(rows) - 1, min(COUNT, len(rows))).astype(np.int64)
    return Prompts(torch.from_numpy(rows[chosen].astype(np.int64)), given)
