"""`python -m pipeline add FILE`: a data set and a model for a text of one's own, put into params.yaml."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import paths
from pipeline.apps import presets
from pipeline.data.sources import fetch
from pipeline.errors import UserError
from pipeline.progress import Bar
from pipeline.schema.data import LocalSource

LEAST = 2000
"""Characters under which nothing can be learned, and a tenth is no window to judge by."""
ALPHABET = 256
"""Different characters up to which each is a token; with more, the tokens are byte pairs."""
JUDGED = 500_000
"""Characters that validation and test take at most, so that a large text is not judged for hours."""


class Look(NamedTuple):
    """What was found in a text."""

    characters: int
    alphabet: set[str]
    sha256: str


def add(file: Path, name: str | None) -> None:
    """Read the text once, part by part, and put it into params.yaml; raises `UserError` for what is no text, or too little of it."""
    paths.require_project()
    name = name or re.sub(r"[^a-z0-9_-]+", "-", file.stem.lower()).strip("-_0123456789") or "mine"
    found = look(file)
    dataset, model = blocks(file, name, found)
    presets.add(name, dataset, model)
    tokens = "each a token" if len(found.alphabet) <= ALPHABET else "in byte pairs"
    print(f"params.yaml has data set and model {name} now: {found.characters:,} characters, {tokens}.")
    print(f"Next: `dvc repro evaluate@{name}` trains, quantizes, exports and judges it; then `python -m pipeline console {name}`.")


def look(file: Path) -> Look:
    """Read the whole text as stage `download` will; raises `UserError`."""
    if file.is_dir():
        raise UserError(f"{file} is a folder: name a file, or describe the folder in params.yaml by hand (README, `Your own text`)")
    fetched = fetch(LocalSource(kind="local", path=str(file)), Path())
    count, alphabet = 0, set[str]()
    with Bar(f"read {file}", None, "documents") as bar:
        for document in bar.each(fetched.documents):
            count += len(document.text)
            if len(alphabet) <= ALPHABET:
                alphabet.update(document.text)
    if count < LEAST:
        raise UserError(f"{file} has {count} characters, of which nothing can be learned: give at least {LEAST}")
    return Look(count, alphabet, fetched.provenance["sha256"])


def blocks(file: Path, name: str, found: Look) -> tuple[dict[str, Any], dict[str, Any]]:
    """The blocks of data set and model, which takes a few minutes on two cores: preset `default`'s recipe for text, shorter."""
    share = round(min(0.05, JUDGED / found.characters), 6)
    full, root = file.resolve(), Path.cwd()
    path = full.relative_to(root) if full.is_relative_to(root) else full
    tokenizer = {"kind": "characters", "unknown": "unk"} if len(found.alphabet) <= ALPHABET else {"kind": "bpe", "vocab_size": 1024}
    dataset = {
        "kind": "text",
        "source": {
            "kind": "local",
            "path": str(path),
            "sha256": found.sha256,
        },
        "tokenizer": tokenizer,
        "split": {"method": "contiguous", "validation": share, "test": share},
    }
    training = {
        "steps": 1500,
        "batch_size": 12,
        "optimizer": "muon",
        "learning_rate": 0.01,
        "muon_learning_rate": 0.02,
        "schedule": "wsd",
        "decay_fraction": 1.0,
        "final_learning_rate": 0.0,
        "warmup_steps": 50,
        "weight_decay": 0.0,
        "precision": "bfloat16",
        "evaluate_every": 250,
        "validation_tokens": 65536,
    }
    model = {
        "family": "transformer",
        "dataset": name,
        "architecture": {},
        "training": training,
        "quantization": {"method": "ptq"},
        "formats": ["huggingface", "onnx"],
        "evaluation": {},
    }
    return dataset, model
