import copy
import json
import zlib

import torch
from safetensors.torch import load_file, save_file

from pipeline import models
from pipeline.quantization import storage, stream

CONFIG = {
    "vocab_size": 11,
    "hidden_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 10,
    "intermediate_size": 32,
    "max_position_embeddings": 16,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "quintet": {"family": "transformer", "dropout": 0.0, "training_key": "0123456789abcdef"},
}


def float_model(**changes):
    """A transformer with weights that are all in use (a fresh one's output projections are zero)."""
    module = models.create({**copy.deepcopy(CONFIG), **changes}, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 2:
                parameter.normal_(0, 0.3, generator=generator)
    return module.eval()


def save(module, packed, directory):
    others = {name: tensor for name, tensor in module.state_dict().items() if name not in packed}
    config = {**module.config, "quantization_config": storage.describe(packed)}
    models.save(storage.tensors_of(packed, others), config, directory / "model.safetensors", directory / "config.json")


def description(directory):
    """What a quantized directory says about its matrices."""
    return stream.described(load_file(directory / "model.safetensors")["quantized"])[0]


def describe_anew(directory, change):
    """Let it say something else: `change` is given the description."""
    tensors = load_file(directory / "model.safetensors")
    entries, rest = stream.described(tensors["quantized"])
    change(entries)
    tensors["quantized"] = torch.frombuffer(bytearray(zlib.compress(json.dumps(entries).encode()) + rest), dtype=torch.uint8)
    save_file(tensors, directory / "model.safetensors")
