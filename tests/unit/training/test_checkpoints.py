"""Checkpoints on disk: two generations, damage noticed, nothing left behind."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from pipeline.errors import UserError
from pipeline.training.checkpoints import Checkpoint, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "state" / "key")
    for step in (5, 10, 15):
        store.save(step, {"a/b": torch.full((3,), float(step))}, {"step": step, "curve": [0.1, None]})
    return store


def loaded(store: Store) -> Checkpoint:
    checkpoint = store.load()
    assert checkpoint is not None
    return checkpoint


def files(store: Store) -> list[Path]:
    return sorted(store.folder.iterdir())


def test_the_newest_comes_back_and_two_are_kept(store: Store) -> None:
    assert loaded(store).step == 15
    assert loaded(store).record == {"step": 15, "curve": [0.1, None]}
    assert loaded(store).tensors["a/b"].tolist() == [15.0] * 3
    assert [int(path.name[:12]) for path in files(store)] == [10, 15]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_generation_is_named_and_the_one_before_it_taken(store: Store, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    newest = files(store)[-1]
    data = bytearray(newest.read_bytes())
    data[-2] ^= 1
    newest.write_bytes({"cut": newest.read_bytes()[:-4], "flip": bytes(data), "empty": b""}[damage])
    assert loaded(store).step == 10
    assert f"{newest} is damaged (its name is not its checksum): going back to the checkpoint before it" in capsys.readouterr().err


def test_two_damaged_generations_mean_a_new_start(store: Store) -> None:
    for path in files(store):
        path.write_bytes(b"x" * 100)
    assert store.load() is None


@pytest.mark.parametrize(
    "content", [b"", b"x" * 100, b"\xff" * 16, save({"a": torch.zeros(1)}), save({"a": torch.zeros(1)}, {"record": "{"})]
)
def test_a_file_that_no_training_wrote_is_damaged_though_its_checksum_holds(store: Store, content: bytes) -> None:
    (store.folder / f"{20:012d}-{hashlib.sha256(content).hexdigest()[:32]}.safetensors").write_bytes(content)
    assert loaded(store).step == 15


def test_a_write_that_was_cut_short_leaves_no_generation(store: Store) -> None:
    (store.folder / ".000000000020-0123.safetensors.99.tmp").write_bytes(b"half")
    assert loaded(store).step == 15


def test_the_same_step_again_is_the_same_file(store: Store) -> None:
    before = files(store)
    store.save(15, {"a/b": torch.full((3,), 15.0)}, {"step": 15, "curve": [0.1, None]})
    assert files(store) == before


def test_nothing_is_left_after_removal(store: Store) -> None:
    store.remove()
    assert not store.folder.exists()
    assert store.load() is None


def test_two_processes_cannot_work_on_one_training(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.training import checkpoints

    exclusive = checkpoints.io.exclusive
    monkeypatch.setattr(checkpoints.io, "exclusive", lambda path, what: exclusive(path, what, patience=0.1))
    other = Store(store.folder)
    with (
        store.locked("this training of x"),
        pytest.raises(UserError, match="this training of x is already running"),
        other.locked("this training of x"),
    ):
        pytest.fail("both hold the lock")
