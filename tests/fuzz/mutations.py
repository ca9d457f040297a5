"""Damage: what a valid file becomes by one to three random changes, of its bytes or of what they mean. The same for the same seed."""

import hashlib
import io as memory
import json
import random
import zipfile
import zlib
from typing import Any

import yaml

ODD: list[Any] = [None, True, False, -1, 0, 1, 2, 3, 7, 255, 256, 65536, 1 << 20, 2**31 - 1, 2**31, 2**53, 2**63, 2**64, 10**30, -(10**30)]
ODD += [
    0.0,
    -0.5,
    1e-320,
    1e308,
    float("inf"),
    float("nan"),
    "",
    "x",
    "0",
    "F32",
    "\0",
    "\ud800",
    "../x",
    "é" * 99,
    "9" * 5000,
    "a\nb\x1b[2J",
]
ODD += [[], {}, [[]], [0], [0, 0], ["x"], {"": 0}, {"version": 2}, [0] * 999]
DEEP = b"[" * 100_000
EDGES = (b"\xff" * 8, b"\0" * 8, b"\x7f" + b"\xff" * 7, b"{}", b'"', b"\xed\xa0\x80", DEEP)


def mutate(name: str, data: bytes, draw: random.Random) -> bytes:
    """A damaged file; `name` tells its form by its ending."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        form = FORMS.get(name.rpartition(".")[2]) if draw.random() < 0.65 else None
        try:
            data = form(data, draw) if form else scrambled(data, draw)
        except Exception:  # an earlier change took the form away
            data = scrambled(data, draw)
    return data


def scrambled(data: bytes, draw: random.Random) -> bytes:
    """Bits flipped, bytes cut, doubled, swapped, overwritten or put in."""
    place, end = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    end = min(end, place + draw.choice((1, 8, 64, len(data))))
    match draw.randrange(7):
        case 0 | 1:
            changed = bytearray(data)
            for _ in range(draw.randint(1, 4)):
                if changed:
                    changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
            return bytes(changed)
        case 2:
            return data[:place]
        case 3:
            return data[:place] + data[end:]
        case 4:
            return data[:end] + data[place:end] + data[end:]
        case 5:
            edge = draw.choice(EDGES)
            return data[:place] + edge + data[place + len(edge) :]
        case _:
            return data[:place] + (draw.choice(EDGES) if draw.random() < 0.5 else draw.randbytes(end - place)) + data[place:]


def changed_json(data: bytes, draw: random.Random) -> bytes:
    """One value of a JSON document made odd, left out, doubled, or put in another's place."""
    return json.dumps(changed(json.loads(data), draw)).encode()


def changed(value: Any, draw: random.Random) -> Any:
    """The value with one change somewhere in it."""
    if not isinstance(value, dict | list) or not value or draw.random() < 0.05:
        return _other(value, draw)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = draw.choice(keys)
    match draw.randrange(10):
        case 0:
            del value[key]
        case 1:
            value[key] = value[draw.choice(keys)]
        case 2 if isinstance(value, dict):
            value[draw.choice(("", "x", "__metadata__", f"{key}.codes", f"{key}x"))] = value.pop(key)
        case 2:
            value.insert(key, value[key])
        case _:
            value[key] = changed(value[key], draw)
    return value


def _other(value: Any, draw: random.Random) -> Any:
    if type(value) is int and draw.random() < 0.5:
        return draw.choice((value + 1, value - 1, value * 2, -value, value << 20, float(value), str(value)))
    if isinstance(value, str) and value and draw.random() < 0.5:
        return draw.choice((value * 2, value[:-1], value.upper(), value[::-1], value + "\n"))
    return draw.choice(ODD)


def changed_tensors(data: bytes, draw: random.Random) -> bytes:
    """A safetensors file with another header, or with other data under a checksum that holds."""
    start = 8 + int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8:start]), data[start:]
    if "quantized" in header and draw.random() < 0.4:
        begin, end = header["quantized"]["data_offsets"]
        found = changed_streams(body[begin:end], draw)
        header["quantized"].update(shape=[len(found)], data_offsets=[begin, begin + len(found)])
        body = body[:begin] + found + body[end:]
    elif draw.random() < 0.6:
        header = changed(header, draw)
    else:
        body = scrambled(body, draw)
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    if isinstance(metadata, dict) and "record" in metadata and draw.random() < 0.5:
        metadata["record"] = changed_json(metadata["record"].encode(), draw).decode()
    if isinstance(metadata, dict) and "sha256" in metadata and draw.random() < 0.8:
        metadata["sha256"] = hashlib.sha256(body).hexdigest()
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def changed_streams(data: bytes, draw: random.Random) -> bytes:
    """Two zlib streams whose checksums hold, the first's JSON or the second's bytes changed."""
    inflater = zlib.decompressobj()
    text = inflater.decompress(data)
    content = zlib.decompress(inflater.unused_data)
    if draw.random() < 0.6:
        text = changed_json(text, draw)
    else:
        content = scrambled(content, draw)
    return zlib.compress(text) + zlib.compress(content)


def changed_yaml(data: bytes, draw: random.Random) -> bytes:
    """One value of a YAML document made odd."""
    return yaml.safe_dump(changed(yaml.safe_load(data), draw)).encode()


def changed_lines(data: bytes, draw: random.Random) -> bytes:
    """JSON lines with one line changed."""
    lines = data.splitlines()
    number = draw.randrange(len(lines))
    lines[number] = changed_json(lines[number], draw)
    return b"\n".join(lines) + b"\n"


def changed_archive(data: bytes, draw: random.Random) -> bytes:
    """A zip file with one member changed."""
    with zipfile.ZipFile(memory.BytesIO(data)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    chosen = draw.choice(sorted(members))
    members[chosen] = mutate(chosen, members[chosen], draw)
    made = memory.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return made.getvalue()


FORMS = {
    "json": changed_json,
    "yaml": changed_yaml,
    "jsonl": changed_lines,
    "safetensors": changed_tensors,
    "npz": changed_archive,
    "pt2": changed_archive,
    "zip": changed_archive,
}
