"""GGUF files for llama.cpp, architecture `qwen3`: metadata, tokenizer and tensors' names; which types the matrices get is the formats'.

Written and read by the package `gguf`. What llama.cpp computes from such a file differs by its rounding of activations; here it is read
back and computed in float32.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
import numpy.typing as npt
import torch
from gguf import GGMLQuantizationType as Kind

from pipeline import io, models
from pipeline.conversion import Source, weights
from pipeline.data import tokenizers
from pipeline.data.tokenizers import Tokenizer
from pipeline.models.base import Model

WEIGHTS = "model.gguf"
SIZES = {
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "head_count": "num_attention_heads",
    "head_count_kv": "num_key_value_heads",
    "key_length": "head_dim",
    "value_length": "head_dim",
    "layer_norm_rms_eps": "rms_norm_eps",
    "rope_freq_base": "rope_theta",
}
"""gguf.GGUFWriter's `add_` methods, and the keys of config.json that they take."""


class Data(NamedTuple):
    """A tensor as the file holds it."""

    array: npt.NDArray[Any]
    """Of the type's numbers, or its blocks as bytes."""
    kind: Kind


def write(tensors: Mapping[str, Data], config: Mapping[str, Any], source: Source, target: Path) -> None:
    """Write model.gguf from tensors by Hugging Face's names."""
    writer = gguf.GGUFWriter(target / WEIGHTS, "qwen3")
    writer.add_name(source.name)
    for method, key in SIZES.items():
        getattr(writer, f"add_{method}")(config[key])
    writer.add_string("quintet.config", io.canonical_json(config["quintet"]).strip())
    add_tokenizer(writer, tokenizers.load(source.model))
    theirs = names(config)
    for name in sorted(tensors):
        array, kind = tensors[name]
        writer.add_tensor(theirs[name], array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def names(config: Mapping[str, Any]) -> dict[str, str]:
    """Tensor names of Hugging Face -> of llama.cpp, for all that the model may have."""
    mapped = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, config["num_hidden_layers"])
    parts = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "self_attn.q_norm", "self_attn.k_norm"]
    parts += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm"]
    ours = [f"model.layers.{layer}.{part}" for layer in range(config["num_hidden_layers"]) for part in parts]
    ours += ["model.embed_tokens", "model.norm", "lm_head"]
    return {f"{name}.weight": f"{mapped.get_name(name)}.weight" for name in ours}


def add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    """As llama.cpp's byte-level BPE, whose ids are the tokenizer's own; characters outside ASCII become merges of their bytes."""
    model = json.loads(tokenizer.backend.to_str())["model"]
    ids = tokenizer.backend.get_vocab(with_added_tokens=True)
    tokens = sorted(ids, key=ids.__getitem__)
    special = {tokenizers.END_OF_TEXT: gguf.TokenType.CONTROL, tokenizers.UNKNOWN: gguf.TokenType.UNKNOWN}
    kinds = [special.get(token, gguf.TokenType.NORMAL) for token in tokens]
    if model["type"] == "WordLevel":
        spelled = [token if token in special else spell(token) for token in tokens]
        long = [spell(token) for token in tokens if token not in special]
        merges = sorted({f"{letters[:i]} {letters[i]}" for letters in long for i in range(1, len(letters))})
        merges, rules = merges or [" ".join([tokenizers.END_OF_TEXT] * 2)], "qwen2"  # an empty list would not be written, and is required
    else:
        spelled, rules = tokens, "gpt-2"
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(rules)
    writer.add_token_list(spelled)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokenizer.eos)  # llama.cpp would take token 11 if none were named
    writer.add_eos_token_id(tokenizer.eos)
    writer.add_add_bos_token(False)


def alphabet() -> dict[int, str]:
    """GPT-2's letter for each byte: itself where it is printable, else one from U+0100 on (Radford et al. 2019)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


ALPHABET = alphabet()


def spell(text: str) -> str:
    """A text's bytes in that alphabet."""
    return "".join(ALPHABET[byte] for byte in text.encode())


def load(folder: Path) -> Model:
    """The model that the file describes, its weights dequantized by the package `gguf`."""
    reader = gguf.GGUFReader(folder / WEIGHTS)
    config, path = _config(reader), folder / WEIGHTS
    models.check_sizes(config, sum(int(tensor.n_elements) for tensor in reader.tensors), len(reader.tensors), path)
    ours = {theirs: name for name, theirs in names(config).items()}
    found = {ours[tensor.name]: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    config["tie_word_embeddings"] = "lm_head.weight" not in found
    return weights.module(config, {name: torch.from_numpy(np.array(array, np.float32)) for name, array in found.items()}, path)


def _config(reader: gguf.GGUFReader) -> dict[str, Any]:
    keys = gguf.Keys
    fields = {
        "vocab_size": keys.LLM.VOCAB_SIZE,
        "max_position_embeddings": keys.LLM.CONTEXT_LENGTH,
        "hidden_size": keys.LLM.EMBEDDING_LENGTH,
        "num_hidden_layers": keys.LLM.BLOCK_COUNT,
        "intermediate_size": keys.LLM.FEED_FORWARD_LENGTH,
        "num_attention_heads": keys.Attention.HEAD_COUNT,
        "num_key_value_heads": keys.Attention.HEAD_COUNT_KV,
        "head_dim": keys.Attention.KEY_LENGTH,
        "rms_norm_eps": keys.Attention.LAYERNORM_RMS_EPS,
        "rope_theta": keys.Rope.FREQ_BASE,
    }
    values = {name: reader.fields[key.format(arch="qwen3")].contents() for name, key in fields.items()}
    quintet = json.loads(reader.fields["quintet.config"].contents())
    return {**values, "tie_word_embeddings": True, "quintet": quintet}
