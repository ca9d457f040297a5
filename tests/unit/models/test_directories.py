"""Model directories: the same bytes for the same weights, and a sentence for what is wrong with one."""

from pathlib import Path

import pytest
import torch

from pipeline import io, models
from pipeline.errors import UserError
from tests.unit.models import recurrent, tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tiny.model().state_dict(), tmp_path)
    return tmp_path


def write(tensors: dict[str, torch.Tensor], folder: Path) -> None:
    models.save(tensors, tiny.config(), folder / "model.safetensors", folder / "config.json")


def test_a_directory_gives_its_model_back(folder: Path) -> None:
    module, original = models.load(folder), tiny.model()
    assert not module.training
    assert torch.equal(module(tiny.tokens(2, 5))[0], original(tiny.tokens(2, 5))[0])


def test_bytes_do_not_depend_on_the_order_of_tensors(folder: Path) -> None:
    first = io.sha256(folder)
    write(dict(reversed(tiny.model().state_dict().items())), folder)
    assert io.sha256(folder) == first


def test_an_unknown_family_is_named(folder: Path) -> None:
    config = tiny.config()
    io.write_json(folder / "config.json", {**config, "quintet": {**config["quintet"], "family": "parrot"}})
    with pytest.raises(UserError, match="no model family 'parrot': this version has transformer"):
        models.load(folder)


def test_weights_that_do_not_fit_the_configuration_are_named(folder: Path) -> None:
    io.write_json(folder / "config.json", tiny.config(intermediate_size=20))
    with pytest.raises(UserError, match=r"down_proj.weight to be float32 of shape \[16, 20\], but it is float32 of shape \[16, 24\]"):
        models.load(folder)


def test_damage_and_absence_are_named(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(
        UserError, match=r"model\.safetensors: length of the data is \d+ bytes, but the header describes \d+: the file is damaged"
    ):
        models.load(folder)
    file.unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        models.load(folder)


def test_a_directory_of_other_makers_is_refused(folder: Path) -> None:
    io.write_json(folder / "config.json", {"model_type": "qwen3"})
    with pytest.raises(UserError, match="no section `quintet`"):
        models.load(folder)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"hidden_size": 10**9}, r"config\.json: hidden_size is 1000000000, but the model has \d+ weights"),
        ({"num_hidden_layers": 100}, r"config\.json: num_hidden_layers is 100, but the model has \d+ tensors"),
        ({"max_position_embeddings": 10**12}, r"config\.json: max_position_embeddings is 1000000000000, but at most 8388608"),
        ({"hidden_size": "big"}, r"config\.json describes no model that can be built"),
        ({"num_hidden_layers": None}, r"config\.json describes no model that can be built"),
    ],
)
def test_hostile_sizes_are_refused_before_memory_is_taken(folder: Path, change: dict[str, object], message: str) -> None:
    io.write_json(folder / "config.json", {**tiny.config(), **change})
    with pytest.raises(UserError, match=message):
        models.load(folder)


@pytest.mark.parametrize("activation", ["swish", 3, None, ["gelu"]])
def test_an_unknown_activation_is_refused_at_once(activation: object, tmp_path: Path) -> None:
    module = recurrent.model("realnet")
    models.save(module.state_dict(), {**module.config, "activation": activation}, tmp_path / "model.safetensors", tmp_path / "config.json")
    with pytest.raises(UserError, match=r"config\.json: activation is .*: choose one of .*gelu"):
        models.load(tmp_path)
