"""The lease on CUDA devices, between real processes; that torch lists two devices, and their UUIDs, is made up."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from pipeline import rng
from pipeline.errors import UserError
from pipeline.training import cards
from tests.workspace import PROJECT

HOLDER = """
import sys
from pathlib import Path
from pipeline.training import cards
cards.FOLDER, cards.POLL = Path(sys.argv.pop(1)), 0.05
devices = sys.argv.pop(1).split(",")
cards.visible = lambda: devices
print(cards.lease(), flush=True)
assert cards.lease() == cards.lease(), "a process has one device"
sys.stdin.read()
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a process that leases one of the devices with these UUIDs, prints its index, and holds it until it is killed."""
    started = []

    def holder(devices: str, *words: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", HOLDER, str(tmp_path / "devices"), devices, *words]
        process = subprocess.Popen(command, cwd=PROJECT, stdin=-1, stdout=-1, stderr=-1, text=True)
        started.append(process)
        return process

    yield holder
    for process in started:
        process.kill()
        process.communicate()


def test_processes_never_share_a_device(start: Start) -> None:
    """A device is known by its UUID: of the second process CUDA_VISIBLE_DEVICES shows one alone, whose index is then 0."""
    first = start("GPU-a,GPU-b", "train", "shakespeare")
    assert first.stdout.readline() == "0\n"
    second = start("GPU-b", "train", "realnet")
    assert second.stdout.readline() == "0\n"
    third = start("GPU-a,GPU-b", "quantize", "pentary")
    held = f"0 is held by pid {first.pid} (train shakespeare), 1 is held by pid {second.pid} (train realnet)"
    assert third.stderr.readline() == f"waiting for a CUDA device: {held}\n"
    second.kill()
    assert third.stdout.readline() == "1\n"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(cards, "FOLDER", tmp_path / "file")
    monkeypatch.setattr(cards, "visible", lambda: ["GPU-a"])
    with pytest.raises(UserError, match=r"file/GPU-a\.lock cannot be written"):
        cards.lease()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_devices_have_uuids() -> None:
    assert len(set(cards.visible())) == torch.cuda.device_count()


def test_a_process_without_cuda_keeps_the_state_of_the_cpu_alone() -> None:
    state = rng.capture()
    before = torch.rand(3)
    rng.restore(state)
    assert torch.equal(torch.rand(3), before)
    assert torch.cuda.is_initialized() or state.keys() == {"cpu"}
