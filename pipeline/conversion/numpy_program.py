"""Runs the transformer of this folder with NumPy alone: python run.py "TEXT" [NEW_TOKENS]

model.npz has each matrix as bytes (each a number of as many base-L digits as fit, the first digit the least significant) and scales, for
as many equal parts of a row as there are; matrices.json says which, at how many levels, of how many columns. The rest is float32.
"""

import itertools
import json
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def decode(codes_RC: Array, scale_RG: Array, levels: int, columns: int) -> Array:
    """The float32 matrix [R, columns]."""
    count = 1
    while levels ** (count + 1) <= 256:
        count += 1
    places = levels ** np.arange(count)
    digits = (codes_RC[:, :, None].astype(np.int64) // places % levels - levels // 2).reshape(len(codes_RC), -1)[:, :columns]
    scaled = digits.reshape(*scale_RG.shape, -1).astype(np.float32) * scale_RG[:, :, None]
    return scaled.reshape(len(codes_RC), columns)


class Transformer:
    """Qwen3's architecture. B sequences, T tokens, D width, H heads, K channels a head, L layers, P tokens before."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        matrices = json.loads((folder / "matrices.json").read_text())
        with np.load(folder / "model.npz", allow_pickle=False) as file:
            self.weights = {name: file[name] for name in file.files if not name.endswith((".codes", ".scale"))}
            for name, entry in matrices.items():
                self.weights[name] = decode(file[f"{name}.codes"], file[f"{name}.scale"], entry["levels"], entry["columns"])
        channels = self.config["head_dim"]
        frequency = self.config["rope_theta"] ** (-np.arange(0, channels, 2, dtype=np.float32) / channels)
        angle = np.outer(np.arange(self.config["max_position_embeddings"], dtype=np.float32), frequency.astype(np.float32))
        self.cosine, self.sine = np.cos(angle), np.sin(angle)

    def empty(self, batch: int) -> Array:
        """Keys, or values, of no tokens [L, B, H, 0, K]."""
        c = self.config
        return np.zeros((c["num_hidden_layers"], batch, c["num_key_value_heads"], 0, c["head_dim"]), np.float32)

    def __call__(self, tokens_BT: Array, keys: Array, values: Array) -> tuple[Array, Array, Array]:
        """Logits [B, T, V], and keys and values [L, B, H, P + T, K] that now have these tokens too."""
        past, made = keys.shape[3], []
        cosine, sine = (table[past : past + tokens_BT.shape[1], None] for table in (self.cosine, self.sine))
        embedding = self.weights["model.embed_tokens.weight"]
        x_BTD = embedding[tokens_BT]
        for layer in range(self.config["num_hidden_layers"]):
            name = f"model.layers.{layer}"
            normed = self.norm(x_BTD, f"{name}.input_layernorm")
            added, *both = self.attention(normed, f"{name}.self_attn", cosine, sine, keys[layer], values[layer])
            made.append(both)
            x_BTD = x_BTD + added
            x_BTD = x_BTD + self.mlp(self.norm(x_BTD, f"{name}.post_attention_layernorm"), f"{name}.mlp")
        logits = self.norm(x_BTD, "model.norm") @ self.weights.get("lm_head.weight", embedding).T
        return logits, np.stack([key for key, _ in made]), np.stack([value for _, value in made])

    def norm(self, x: Array, name: str) -> Array:
        """x divided by its root mean square, times a weight a channel."""
        mean = (x * x).mean(-1, keepdims=True, dtype=np.float32)
        scaled: Array = x / np.sqrt(mean + np.float32(self.config["rms_norm_eps"])) * self.weights[f"{name}.weight"]
        return scaled

    def attention(self, x: Array, name: str, cosine: Array, sine: Array, keys: Array, values: Array) -> tuple[Array, Array, Array]:
        """Causal attention with rotary positions: [B, T, D], and the layer's keys and values."""
        channels = self.config["head_dim"]
        q, k, v = ((x @ self.weights[f"{name}.{part}_proj.weight"].T).reshape(*x.shape[:2], -1, channels) for part in "qkv")
        q = rotate(self.norm(q, f"{name}.q_norm"), cosine, sine).transpose(0, 2, 1, 3)
        k = rotate(self.norm(k, f"{name}.k_norm"), cosine, sine).transpose(0, 2, 1, 3)
        keys = np.concatenate((keys, k), 2)
        values = np.concatenate((values, v.transpose(0, 2, 1, 3)), 2)
        share = q.shape[1] // keys.shape[1]
        scores = q @ keys.repeat(share, 1).transpose(0, 1, 3, 2) * np.float32(channels**-0.5)
        new, total = scores.shape[2:]
        scores = np.where(np.tri(new, total, total - new, dtype=bool), scores, np.float32(-np.inf))
        weight = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = weight / weight.sum(-1, keepdims=True) @ values.repeat(share, 1)
        joined = mixed.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1)
        return joined @ self.weights[f"{name}.o_proj.weight"].T, keys, values

    def mlp(self, x: Array, name: str) -> Array:
        """SwiGLU."""
        gate, up, down = (self.weights[f"{name}.{part}_proj.weight"].T for part in ("gate", "up", "down"))
        inner = x @ gate
        out: Array = (inner / (1 + np.exp(-inner)) * (x @ up)) @ down
        return out


def rotate(x_BTHK: Array, cosine: Array, sine: Array) -> Array:
    """Rotary positions: channel i turns together with channel i + K/2."""
    first, second = np.split(x_BTHK, 2, -1)
    return np.concatenate((first * cosine - second * sine, second * cosine + first * sine), -1)


class Characters:
    """A tokenizer of single characters."""

    def __init__(self, model: dict[str, Any]) -> None:
        self.ids, self.unknown = model["vocab"], model["vocab"].get(model["unk_token"])
        self.letters = {id: letter for letter, id in self.ids.items()}

    def encode(self, text: str) -> list[int]:
        """Tokens of a text; a character that the model does not know ends the program, unless there is a token for such."""
        tokens = [self.ids.get(character, self.unknown) for character in text]
        if None in tokens:
            sys.exit(f"{text[tokens.index(None)]!r} is not in the model's alphabet: {''.join(sorted(self.ids))!r}")
        return tokens

    def decode(self, tokens: list[int]) -> str:
        return "".join(self.letters[token] for token in tokens)


class BytePairs:
    """Byte-level BPE (Radford et al. 2019): bytes as letters, words by GPT-2's pattern, and in each the earliest merge first."""

    def __init__(self, model: dict[str, Any]) -> None:
        pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
        self.ids, self.ranks = model["vocab"], {pair: rank for rank, pair in enumerate(pairs)}
        self.texts = {id: text for text, id in self.ids.items()}
        plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in plain]
        self.letters = {byte: chr(byte) for byte in plain} | {byte: chr(256 + i) for i, byte in enumerate(others)}

    def encode(self, text: str) -> list[int]:
        """Tokens of any text."""
        return [self.ids[part] for word in words(text) for part in self.parts([self.letters[byte] for byte in word.encode()])]

    def parts(self, letters: list[str]) -> list[str]:
        while len(letters) > 1:
            pairs = list(itertools.pairwise(letters))
            best = min(pairs, key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if best not in self.ranks:
                break
            merged: list[str] = []
            for letter in letters:
                if merged and (merged[-1], letter) == best:
                    merged[-1] += letter
                else:
                    merged.append(letter)
            letters = merged
        return letters

    def decode(self, tokens: list[int]) -> str:
        bytes_of = {letter: byte for byte, letter in self.letters.items()}
        return bytes(bytes_of[letter] for token in tokens for letter in self.texts.get(token, "")).decode(errors="replace")


def words(text: str) -> Iterator[str]:
    """GPT-2's: contractions, letters, numbers and other signs with the space before them, and other white space."""
    kinds = "".join(kind(character) for character in text)
    place = 0
    while place < len(text):
        found = CONTRACTION.match(text, place) or WORD.match(kinds, place)
        assert found is not None  # every kind begins a word
        yield text[place : found.end()]
        place = found.end()


def kind(character: str) -> str:
    """L for a letter, N for a number, a space for itself, S for other white space, O for all else."""
    category = unicodedata.category(character)[0]
    if character == " ":
        return " "
    return category if category in "LN" else "S" if category == "Z" or character in "\t\n\v\f\r\x85" else "O"


CONTRACTION = re.compile("'(?:s|t|re|ve|m|ll|d)")
WORD = re.compile(" ?L+| ?N+| ?O+|[ S]+(?![LNO])|[ S]+")


def main(folder: Path, text: str, new_tokens: int) -> None:
    """Print the text and what the model finds likeliest to follow, up to the end of the text or of the context."""
    model = Transformer(folder)
    described = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    tokenizer = Characters(described) if described["type"] == "WordLevel" else BytePairs(described)
    tokens = tokenizer.encode(text)
    context = model.config["max_position_embeddings"]
    if len(tokens) > context:
        sys.exit(f"the text has {len(tokens)} tokens, but the model sees at most {context}")
    logits, keys, values = model(np.array([tokens]), model.empty(1), model.empty(1))
    while new_tokens > 0 and len(tokens) < context:
        token = int(logits[0, -1].argmax())
        if token == model.config["eos_token_id"]:
            break
        tokens.append(token)
        new_tokens -= 1
        logits, keys, values = model(np.array([[token]]), keys, values)
    print(tokenizer.decode(tokens))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or not sys.argv[1]:
        sys.exit(__doc__)
    main(Path(__file__).parent, sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else 100)
