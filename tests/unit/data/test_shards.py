"""Shards: written as a stream, mapped, and refused where anything is wrong."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from pipeline.data import shards
from pipeline.errors import UserError

VALUES = np.array([0, 1, 65535, 7], dtype=np.uint16)


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "train.safetensors"
    with shards.Writer(path, "tokens", np.dtype("<u2"), {"note": "x"}) as writer:
        for piece in (VALUES[:1], VALUES[1:1], VALUES[1:]):
            writer.append(piece.astype(np.int64))
    return path


def test_a_stream_equals_what_is_written_at_once(shard: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    shards.write(whole, {"tokens": VALUES}, {"note": "x"})
    assert whole.read_bytes() == shard.read_bytes()


def test_the_safetensors_library_reads_it(shard: Path, tmp_path: Path) -> None:
    assert (load_file(shard)["tokens"] == VALUES).all()
    several = {"b": np.arange(6, dtype=np.uint8).reshape(2, 3), "a": np.array([2**40], dtype=np.int64)}
    shards.write(tmp_path / "s", several)
    loaded, mapped = load_file(tmp_path / "s"), shards.open(tmp_path / "s")
    for name, array in several.items():
        assert mapped[name].dtype == loaded[name].dtype == array.dtype
        assert (mapped[name] == array).all() and (loaded[name] == array).all()


def test_tensors_are_mapped_and_not_read(shard: Path) -> None:
    tokens = shards.open(shard)["tokens"]
    assert isinstance(tokens, np.memmap) and not tokens.flags.writeable
    assert tokens.tolist() == VALUES.tolist()


def test_a_large_shard_costs_no_memory(tmp_path: Path) -> None:
    """100 MB of tokens are mapped by a process that may have far less than that."""
    path = tmp_path / "large"
    with shards.Writer(path, "tokens", np.dtype("<u2")) as writer:
        for _ in range(50):
            writer.append(np.zeros(1_000_000, dtype=np.uint16))
    code = (
        "import resource, sys; from pathlib import Path; from pipeline.data import shards; "
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; tokens = shards.open(Path(sys.argv[1]))['tokens']; "
        "assert len(tokens) == 50_000_000 and tokens[::10_000_000].sum() == 0; "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20_000  # kilobytes


def test_empty_tensor(tmp_path: Path) -> None:
    with shards.Writer(tmp_path / "s", "tokens", np.dtype("<u4")):
        pass
    assert shards.open(tmp_path / "s")["tokens"].shape == (0,)
    assert shards.verify(tmp_path / "s")


def test_dtype_follows_the_vocabulary() -> None:
    assert shards.token_dtype(65_536) == np.uint16
    assert shards.token_dtype(65_537) == np.uint32


@pytest.mark.parametrize("value", [-1, 65536])
def test_a_token_that_does_not_fit_is_refused(tmp_path: Path, value: int) -> None:
    with pytest.raises(ValueError, match="does not fit"), shards.Writer(tmp_path / "s", "tokens", np.dtype("<u2")) as writer:
        writer.append(np.array([value]))


def test_verify_returns_the_checksum_and_notices_a_flipped_bit(shard: Path) -> None:
    header = json.loads(shard.read_bytes()[8 : shards.DATA_START])
    assert shards.verify(shard) == header["__metadata__"]["sha256"]
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(UserError, match=r"train\.safetensors: __metadata__\.sha256 is .* but the data give"):
        shards.verify(shard)


def header_with(change: Callable[[dict], None]) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        header = json.loads(data[8 : shards.DATA_START])
        change(header)
        text = json.dumps(header).encode().ljust(shards.DATA_START - 8)
        return len(text).to_bytes(8, "little") + text + data[shards.DATA_START :]

    return damage


DAMAGES = {
    "truncated": (lambda data: data[:-1], "length of the data is 7 bytes, but the header describes 8"),
    "oversized": (lambda data: data + b"\0", "length of the data is 9 bytes"),
    "no data at all": (lambda data: b"", "header length is"),
    "truncated header": (lambda data: data[:500], "header length is 1016 in a file of 500 bytes"),
    "huge header": (lambda data: b"\xff" * 8 + data[8:], "header length is"),
    "not JSON": (lambda data: data[:8] + b"}" + data[9:], "header is not JSON"),
    "wrong dtype": (header_with(lambda h: h["tokens"].update(dtype="F32")), r"tokens\.dtype is 'F32', not one of"),
    "other dtype": (
        header_with(lambda h: h["tokens"].update(dtype="U32")),
        r"tokens\.data_offsets is \[0, 8\], but the shape says \[0, 16\]",
    ),
    "other shape": (header_with(lambda h: h["tokens"].update(shape=[5])), r"tokens\.data_offsets"),
    "shape of text": (header_with(lambda h: h["tokens"].update(shape=["4"])), r"tokens\.shape"),
    "negative shape": (header_with(lambda h: h["tokens"].update(shape=[-4, -1])), r"tokens\.shape"),
    "no offsets": (header_with(lambda h: h["tokens"].pop("data_offsets")), "tokens does not have exactly"),
    "entry is a list": (header_with(lambda h: h.update(tokens=[])), "tokens does not have exactly"),
    "no metadata": (header_with(lambda h: h.pop("__metadata__")), r"__metadata__\.sha256 is missing"),
    "newer version": (
        header_with(lambda h: h["__metadata__"].update(version="2")),
        r"__metadata__\.version is 2, but this program reads 1",
    ),
    "a gap": (header_with(lambda h: h["tokens"].update(data_offsets=[2, 10])), r"tokens\.data_offsets"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_refused_with_file_and_field(shard: Path, name: str) -> None:
    damage, message = DAMAGES[name]
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(UserError, match=rf"train\.safetensors: {message}") as caught:
        shards.open(shard)
    assert str(caught.value).endswith("use the version of it that wrote the file" if name == "newer version" else "`tokenize` again")


def test_missing_shard(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none is missing: run the stage `tokenize`"):
        shards.open(tmp_path / "none")
