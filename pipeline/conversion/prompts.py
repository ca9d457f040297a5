"""Real prompts for the comparison of exports: from the validation split, evenly spread over it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline import models
from pipeline.data import features, shards, windows
from pipeline.data.arithmetic import Codec
from pipeline.data.samples import Samples

COUNT = 64
LONGEST = 128


class Prompts(NamedTuple):
    """Token sequences of one length, of which the first `given` tokens are the prompt and the others the text that followed.

    Where none is given, they are the inputs [B, F] of a classifier.
    """

    tokens_BT: Tensor
    given: int


def take(ready: Path, config: Mapping[str, Any]) -> Prompts:
    """Up to `COUNT` prompts for a model's config.json: halves of windows of text (of `LONGEST` tokens at most), or arithmetic problems."""
    path = ready / "validation.safetensors"
    if config["quintet"]["task"] == "classification":
        samples = Samples(shards.open(path), features.layout(config["quintet"]))
        spread = np.linspace(0, len(samples) - 1, min(COUNT, len(samples))).astype(np.int64)
        return Prompts(samples.inputs(spread), 0)
    if config["quintet"]["task"] == "arithmetic":
        codec = Codec.from_dict(config["quintet"]["codec"])
        rows, given = shards.tokens(path, codec.vocab_size, codec.row_length), codec.prompt_length
    else:
        rows = windows.full(shards.tokens(path, config["vocab_size"]), min(models.context(config), LONGEST))[:, :-1]
        given = rows.shape[1] // 2
    chosen = np.linspace(0, len(rows) - 1, min(COUNT, len(rows))).astype(np.int64)
    return Prompts(torch.from_numpy(rows[chosen].astype(np.int64)), given)
