"""A remote of DVC: what one person pushes, another pulls, and has nothing left to run."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.workspace import Workspace

RAN = "Running stage"


def shared(source: Workspace, folder: Path, url: str, **access: str) -> Workspace:
    """Push a project's results to a remote, and pull them into a fresh clone of its repository."""
    author = source.copy(folder / "author")
    author.run("dvc", "remote", "add", "--default", "store", url)
    for name, value in access.items():
        author.run("dvc", "remote", "modify", "store", name, value)
    author.commit()
    assert "files pushed" in author.run("dvc", "push")
    author.run("git", "clone", "--quiet", ".", str(folder / "reader"))
    reader = Workspace(folder / "reader")
    reader.run("dvc", "pull")
    return reader


def nothing_is_left_to_run(reader: Workspace, source: Workspace) -> None:
    said = reader.run("dvc", "repro")
    assert RAN not in said and "up to date" in said
    assert reader.run("git", "status", "--porcelain") == ""
    for path in ("models/shakespeare/model.safetensors", "quantized/calculator/model.safetensors", "report/index.html"):
        assert reader.read(path) == source.read(path)


@pytest.mark.slow
@pytest.mark.xdist_group("smoke")
def test_a_fresh_clone_that_pulls_has_nothing_left_to_run(dvc_run: Workspace, tmp_path: Path) -> None:
    reader = shared(dvc_run, tmp_path, str(tmp_path / "store"))
    nothing_is_left_to_run(reader, dvc_run)
    reader.set(models__calculator__evaluation__batch_size=7)  # and this test can fail: what is changed is run
    assert f"{RAN} 'evaluate@calculator'" in reader.run("dvc", "repro", "--dry")


@pytest.mark.slow
@pytest.mark.xdist_group("smoke")
def test_the_same_through_s3(dvc_run: Workspace, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, keys = f"http://127.0.0.1:{port}", {"access_key_id": "tests", "secret_access_key": "tests"}
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL)
    try:
        _make_bucket(url)
        nothing_is_left_to_run(shared(dvc_run, tmp_path, "s3://quintet/store", endpointurl=url, region="us-east-1", **keys), dvc_run)
        assert httpx.get(f"{url}/quintet?list-type=2").text.count("<Key>store/files/md5/") > 20
    finally:
        server.kill()
        server.wait()


def _make_bucket(url: str) -> None:
    """As soon as the server answers."""
    for _ in range(600):
        try:
            httpx.put(f"{url}/quintet").raise_for_status()
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")
