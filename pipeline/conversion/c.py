"""C: a header with packed digits and scales, and one C99 file that runs the model with the C library alone (`c_program.c`).

    cc -O2 run.c -lm -o run && ./run TEXT

For the comparison it is compiled into a shared library; a header that is not made of numbers as ours are is never compiled.
"""

import ctypes
import functools
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import io, models
from pipeline.conversion import Bounds, Source, cached, digits, weights
from pipeline.conversion.weights import Matrix
from pipeline.data import tokenizers
from pipeline.errors import UserError
from pipeline.models.base import Model
from pipeline.ops.reference import CODES

BOUNDS = Bounds(max_logit_difference=1e-3, kl_divergence=1e-6, greedy_equal=0.9)
WEIGHTS = "model.h"
PROGRAM = Path(__file__).with_name("c_program.c")
FLAGS = ("-std=c99", "-O2", "-ffp-contract=off")
SIZES = {
    "VOCABULARY": "vocab_size",
    "WIDTH": "hidden_size",
    "LAYERS": "num_hidden_layers",
    "HEADS": "num_attention_heads",
    "GROUPS": "num_key_value_heads",
    "CHANNELS": "head_dim",
    "INNER": "intermediate_size",
    "CONTEXT": "max_position_embeddings",
    "TIED": "tie_word_embeddings",
    "END": "eos_token_id",
}
"""Names in the header, and the keys of config.json that they are."""
STRUCT = "struct matrix { int rows, columns, levels, groups; const unsigned char *codes; const float *scale; };"
ARRAY = re.compile(r"^static const (?:unsigned char|float) (\w+)\[\d+\] = \{([^}]*)\};$", re.MULTILINE)
ENTRY = re.compile(r"\{\d+,\d+,(\d{1,9}),(\d{1,9}),codes_")
AGAIN = "run the stage `convert` again"


def export(module: Model, source: Source, target: Path) -> None:
    """Write model.h, run.c, config.json and the tokenizer."""
    config, matrices, others = weights.quantized(source.model)
    io.write_bytes(target / WEIGHTS, _header(config, tokenizers.load(source.model), matrices, others).encode())
    io.write_bytes(target / "run.c", PROGRAM.read_bytes())
    io.write_json(target / "config.json", config)
    source.copy_tokenizer(target)


def _header(
    config: Mapping[str, Any], tokenizer: tokenizers.Tokenizer, matrices: Mapping[str, Matrix], others: Mapping[str, Tensor]
) -> str:
    return "\n".join([*_sizes(config, tokenizer), STRUCT, *_arrays(config, matrices, others)]) + "\n"


def _sizes(config: Mapping[str, Any], tokenizer: tokenizers.Tokenizer) -> Iterable[str]:
    """Definitions, and the tokens' texts."""
    for name, key in SIZES.items():
        yield f"#define {name} {int(config[key])}"
    yield f"#define EPSILON {_float(config['rms_norm_eps'])}"
    yield f"#define ROPE_BASE {_float(config['rope_theta'])}"
    model = json.loads(tokenizer.backend.to_str())["model"]
    yield f"#define CHARACTERS {int(model['type'] == 'WordLevel')}"
    yield f"#define UNKNOWN {-1 if tokenizer.unknown is None else tokenizer.unknown}"
    texts = (tokenizer.decode([id]).encode() for id in range(tokenizer.vocab_size))
    yield f"static const char *const TOKENS[{tokenizer.vocab_size}] = {{{','.join(map(_text, texts))}}};"


def _arrays(config: Mapping[str, Any], matrices: Mapping[str, Matrix], others: Mapping[str, Tensor]) -> Iterable[str]:
    """Codes, scales and vectors, then the tables that `c_program.c` finds them by."""
    named, vectors = _order(config)
    for i, name in enumerate(named):
        matrix = matrices[name]
        codes = digits.encode(matrix.digits_RK.numpy(), matrix.levels).reshape(-1)
        yield f"static const unsigned char codes_{i}[{len(codes)}] = {{{','.join(map(str, codes.tolist()))}}};"
        yield _vector(f"scale_{i}", matrix.scale_RG)
    for i, name in enumerate(vectors):
        yield _vector(f"vector_{i}", others[name].float())
    entries = [(*matrices[name].digits_RK.shape, matrices[name].levels, matrices[name].scale_RG.shape[1]) for name in named]
    yield _table(entries, len(vectors))


def _table(entries: Iterable[tuple[int, ...]], vectors: int) -> str:
    rows = ",".join(f"{{{','.join(map(str, entry))},codes_{i},scale_{i}}}" for i, entry in enumerate(entries))
    names = ",".join(f"vector_{i}" for i in range(vectors))
    return f"static const struct matrix MATRICES[] = {{{rows}}};\nstatic const float *const VECTORS[] = {{{names}}};"


def _order(config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Names of the matrices and of the vectors in the program's order."""
    layers = [f"model.layers.{i}" for i in range(config["num_hidden_layers"])]
    parts = [f"self_attn.{part}_proj" for part in "qkvo"] + [f"mlp.{part}_proj" for part in ("gate", "up", "down")]
    matrices = ["model.embed_tokens", *(f"{layer}.{part}" for layer in layers for part in parts)]
    matrices += [] if config["tie_word_embeddings"] else ["lm_head"]
    norms = ("input_layernorm", "self_attn.q_norm", "self_attn.k_norm", "post_attention_layernorm")
    vectors = [*(f"{layer}.{norm}" for layer in layers for norm in norms), "model.norm"]
    return [f"{name}.weight" for name in matrices], [f"{name}.weight" for name in vectors]


def _vector(name: str, values: Tensor) -> str:
    return f"static const float {name}[{values.numel()}] = {{{','.join(map(_float, values.flatten().tolist()))}}};"


def _float(value: float) -> str:
    """Nine digits, from which a compiler finds the same float32."""
    return f"{value:.8e}f"


def _text(data: bytes) -> str:
    return '"' + "".join(f"\\{byte:03o}" for byte in data) + '"'


def load(folder: Path) -> cached.Exported:
    """The compiled program; raises `UserError` without a compiler, and for files that this version does not write."""
    if (folder / "run.c").read_bytes() != PROGRAM.read_bytes():
        raise UserError(f"{folder}/run.c is not what this version writes: {AGAIN}")
    config = models.read_config(folder)
    _check(folder, config)
    library, vocabulary = _compiled(folder), config["vocab_size"]

    def run(tokens: Tensor, *past: Tensor) -> list[Tensor]:
        batch, count = tokens.shape
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocabulary:
            raise ValueError(f"tokens must lie in 0..{vocabulary - 1}")
        state = [F.pad(part, (0, 0, 0, count)).contiguous() for part in past]
        logits, given = torch.empty(batch, count, vocabulary), tokens.contiguous()
        library.run_batch(_at(given), batch, count, past[0].shape[3], *map(_at, state), _at(logits))
        return [logits, *state]

    return cached.Exported(config["max_position_embeddings"], cached.shape(config, 1, 0), run)


def _at(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


def _check(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a header that `export` does not write for the numbers in it: none else is given to a compiler."""
    path = folder / WEIGHTS
    text = path.read_text(encoding="utf-8", errors="replace")
    arrays = {found[1]: found[2] for found in ARRAY.finditer(text)}
    models.check_sizes(config, len(text), len(arrays), folder / "config.json")
    module = models.hollow(config, folder / "config.json")
    named, vectors = _order(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    try:
        entries = [(int(found[1]), int(found[2])) for found in ENTRY.finditer(text)]
        matrices = {name: _matrix(arrays, i, shapes[name], *entries[i]) for i, name in enumerate(named)}
        others = {name: _numbers(arrays[f"vector_{i}"]).view(shapes[name]) for i, name in enumerate(vectors)}
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise UserError(f"{path} is not what this version writes ({error}): {AGAIN}") from None
    if text != _header(config, tokenizers.load(folder), matrices, others):
        raise UserError(f"{path} is not what this version writes: {AGAIN}")


def _matrix(arrays: Mapping[str, str], number: int, shape: tuple[int, ...], levels: int, groups: int) -> Matrix:
    if levels not in CODES or not 1 <= groups <= shape[1]:
        raise ValueError(f"matrix {number} has {levels} levels in {groups} groups")
    codes = np.array(arrays[f"codes_{number}"].split(","), np.uint8).reshape(shape[0], -1)
    found = digits.table(levels)[codes].reshape(shape[0], -1)[:, : shape[1]]
    return Matrix(torch.from_numpy(found.copy()).view(shape), _numbers(arrays[f"scale_{number}"]).view(shape[0], groups), levels)


def _numbers(text: str) -> Tensor:
    return torch.tensor([float(number.removesuffix("f")) for number in text.split(",")], dtype=torch.float32)


@functools.lru_cache(maxsize=8)
def _compiled(folder: Path) -> ctypes.CDLL:
    """run.c as a shared library, which stays in memory."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise UserError("there is no C compiler here to run the format `c` with: install gcc or clang")
    with tempfile.TemporaryDirectory() as place:
        library = Path(place) / "model.so"
        command = [compiler, *FLAGS, "-shared", "-fPIC", "-o", str(library), str(folder / "run.c"), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"{compiler} cannot compile {folder}/run.c ({done.stderr.strip()[:300]}): use gcc or clang")
        return ctypes.CDLL(str(library))
