"""What the Hugging Face directories have in common: tokenizer, generation defaults, model card, and how `transformers` reads them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.utils import logging

from pipeline import io
from pipeline.conversion import Source, card
from pipeline.conversion.prompts import take
from pipeline.data import tokenizers
from pipeline.models.base import Model

WEIGHTS = "model.safetensors"


def complete(module: Model, source: Source, target: Path, packed: bool) -> None:
    """Write all but weights and configuration; `RuntimeError` if AutoTokenizer gives other ids."""
    config = module.config
    source.copy_tokenizer(target)
    io.write_json(target / "generation_config.json", generation_defaults(config))
    io.write_bytes(target / "README.md", card.write(source, config, module.parameter_count(), packed).encode())
    _check_tokenizer(source, config, target)


def generation_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """generation_config.json: an answer is decoded greedily, a text is drawn from the whole distribution at temperature 0.8."""
    drawn = {"do_sample": True, "temperature": 0.8, "top_k": 0} if config["quintet"]["task"] == "language" else {"do_sample": False}
    return {**drawn, "eos_token_id": config["eos_token_id"]}


def _check_tokenizer(source: Source, config: Mapping[str, Any], target: Path) -> None:
    ours, theirs = tokenizers.load(source.model), AutoTokenizer.from_pretrained(target)
    for row in take(source.ready, config).tokens_BT.tolist():
        text = ours.decode(id for id in row if id != ours.eos)
        if theirs.encode(text) != ours.encode(text):
            raise RuntimeError(f"AutoTokenizer reads {target} otherwise than it was trained: {text!r} becomes {theirs.encode(text)}")


class TransformersModel(Model):
    """A directory in `transformers`, behind the protocol of `pipeline.models`; the state is its own cache."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        logging.disable_progress_bar()
        self.backend, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        if wrong := sorted(str(key) for found in report.values() for key in found):
            raise RuntimeError(f"transformers does not take the tensors of {folder} as they are: {', '.join(wrong)}")
        self.context = int(self.backend.config.max_position_embeddings)

    def forward(self, tokens_BT: Tensor, state: DynamicCache | None = None) -> tuple[Tensor, DynamicCache | None]:
        return self.backend(tokens_BT, past_key_values=state, use_cache=state is not None).logits, state

    def initial_state(self, batch_size: int, length: int | None = None) -> DynamicCache:
        """A cache of no tokens; it grows, so `length` is not needed."""
        return DynamicCache(config=self.backend.config)


def load(folder: Path) -> TransformersModel:
    """The directory in `transformers`; `RuntimeError` names each tensor that it misses, or does not know."""
    return TransformersModel(folder).eval()
