"""Packed model directories of each task that nobody trained, for what asks models whatever they say."""

from pathlib import Path

from pipeline import models, quantization
from pipeline.data import tokenizers
from pipeline.data.arithmetic import Codec
from pipeline.data.tokenizers import Tokenizer
from pipeline.models.base import Model
from pipeline.quantization import storage
from tests.unit.apps import small_speaker
from tests.unit.models import digits, tiny

SMALL = {"image_channels": (2, 3), "audio_channels": (2,), "embedding_dim": 4, "common": 5, "hidden_dims": (6,)}
CODEC = Codec(("+", "-"), 2, 0, 20, -20, 40)


def write(root: Path) -> dict[str, Path]:
    """A directory for each task."""
    small_speaker.write(root / "packed-language", packed=True)
    tokenizer = tokenizers.byte_pairs(digits.CLASSES, digits.VOCABULARY)
    _pack(root / "packed-classification", models.create(digits.configuration(digits.architecture(**SMALL)), seed=4), tokenizer)
    solver = tiny.model(vocabulary=CODEC.vocab_size)
    solver.config = {**solver.config, "quintet": {**solver.config["quintet"], "task": "arithmetic", "codec": CODEC.to_dict()}}
    _pack(root / "packed-arithmetic", solver, CODEC.tokenizer())
    return {task: root / f"packed-{task}" for task in ("language", "arithmetic", "classification")}


def _pack(directory: Path, module: Model, tokenizer: Tokenizer) -> None:
    directory.mkdir(parents=True)
    matrices = quantization.quantize(module.quantizable(), "here")
    others = {name: tensor for name, tensor in module.state_dict().items() if name not in matrices}
    config = {**module.config, "quantization_config": storage.describe(matrices)}
    models.save(storage.tensors_of(matrices, others), config, directory / "model.safetensors", directory / "config.json")
    tokenizer.save(directory / "tokenizer.json", directory / "tokenizer_config.json")
