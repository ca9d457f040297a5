"""Valid files of the libraries in other projects' interfaces, with what reads and uses them, like `seeds`."""

import json
from pathlib import Path
from typing import Any

import numpy as np

import libneurogen
from pipeline.apps.pentary import PentaryModel, PentaryTrainer, folder
from pipeline.apps.pentary import directory as pentary_files

CLASSES = 3
SMALL = {"wernicke": 16, "hippocampus": 16, "prefrontal": 16, "basal_ganglia": 16, "broca": 16, "key_size": 8}


def pentary_folder(target: Path) -> None:
    draw = np.random.default_rng(0)
    np.save(target / "labels.npy", np.arange(9) % CLASSES)
    (target / "text.json").write_text(json.dumps([f"row {i}" for i in range(9)]))
    np.save(target / "images.npy", draw.integers(0, 256, (9, 6, 5, 3), dtype=np.uint8))
    np.save(target / "audio.npy", draw.uniform(-1, 1, (9, 40)).astype(np.float32))
    np.save(target / "features.npy", draw.standard_normal((9, 4)).astype(np.float32))


def read_pentary_folder(target: Path) -> Any:
    return folder.read(target, (), CLASSES), folder.read(target, tuple(folder.FILES), CLASSES)


def use_samples(read: Any) -> None:
    features, samples = read
    assert len(features.x) == len(features.y) and all(len(rows) == len(samples.y) for rows in samples.x.values())


def pentary_model(target: Path) -> None:
    PentaryTrainer(PentaryModel(6, CLASSES, [5])).save_model(target / "net")


def pentary_json(target: Path) -> None:
    PentaryTrainer(PentaryModel(6, CLASSES, [5])).save_model(target / "net.json")


def read_pentary(name: str) -> Any:
    return lambda target: pentary_files.load(target / name)


def classify(loaded: Any) -> None:
    model = PentaryModel(1, 1, [])
    model.replace(loaded.network, *(loaded.head[key] for key in ("input_dim", "output_dim", "hidden_dims")))
    assert model.predict(np.zeros((2, model.input_dim), dtype=np.float32)).shape == (2, model.output_dim)


def _brain() -> libneurogen.NeuroGenModel:
    return libneurogen.NeuroGenModel(vocab_size=7, embedding_dim=16, **SMALL)


def neurogen(target: Path) -> None:
    model = _brain()
    model.train_step([1, 2, 3], [2, 3, 4])
    model.save_checkpoint(target / "brain.safetensors")


def read_neurogen(target: Path) -> Any:
    model = _brain()
    model.load_checkpoint(target / "brain.safetensors")
    return model


def learn_on(model: Any) -> None:
    model.train_step([1, 2, 3], [2, 3, 4])
    model.get_statistics()
