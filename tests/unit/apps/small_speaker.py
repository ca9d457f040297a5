"""A model directory that can be talked to at once: twelve characters of context, weights that nobody trained."""

from pathlib import Path

import torch

from pipeline import models, quantization
from pipeline.data import tokenizers
from pipeline.models.base import Model
from pipeline.models.generation import generate
from pipeline.quantization import storage
from pipeline.schema.families import FAMILIES
from tests.unit.models import tiny

ALPHABET = "abcdefghijklmnopqrstuvwxyz .\n"


SIZES = {"gru": {"hidden_size": 24, "context": 12}, "realnet": {"num_neurons": 48, "context": 12}, "neurogen": {"context": 12}}
"""Of the recurrent families."""


def write(directory: Path, packed: bool = False, alphabet: str = ALPHABET, unknown: bool = False, family: str = "transformer") -> Path:
    """The directory of a float or packed model, with its tokenizer."""
    directory.mkdir(parents=True)
    tokenizer = tokenizers.characters(alphabet, unknown)
    module = tiny.model(vocabulary=tokenizer.vocab_size) if family == "transformer" else _recurrent(family, tokenizer)
    with torch.no_grad():
        next(module.parameters())[tokenizer.eos] = 0.0  # its score is 0, above which some other always is: no answer ends early
    state, config = module.state_dict(), module.config
    if packed:
        matrices = quantization.quantize(module.quantizable(), "here")
        config = {**config, "quantization_config": storage.describe(matrices)}
        state = storage.tensors_of(matrices, {name: tensor for name, tensor in state.items() if name not in matrices})
    models.save(state, config, directory / "model.safetensors", directory / "config.json")
    tokenizer.save(directory / "tokenizer.json", directory / "tokenizer_config.json")
    return directory


def _recurrent(family: str, tokenizer: tokenizers.Tokenizer) -> Model:
    block = FAMILIES[family].model_validate(SIZES[family])
    config = models.family(family).configuration(block, tokenizer.vocab_size, tokenizer.eos, {"task": "language"})
    return models.create(config, seed=3).eval()


def load(directory: Path) -> Model:
    return quantization.load(directory) if "packed" in directory.name else models.load(directory)


@torch.no_grad()
def greedy(directory: Path, prompt: str, tokens: int) -> str:
    """What the directory's model goes on with, by the library."""
    tokenizer = tokenizers.load(directory)
    ids = generate(load(directory), [tokenizer.encode(prompt)], tokens, eos=tokenizer.eos)[0]
    return tokenizer.decode(id for id in ids if id != tokenizer.eos)
