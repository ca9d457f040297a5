"""safetensors headers: what is whole is read as the library reads it, everything else is refused by file and field."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from pipeline import io, tensors
from pipeline.errors import UserError

NUMPY = {"U8": "u1", "I8": "i1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "F32": "<f4", "F64": "<f8", "I64": "<i8"}
ARRAYS = st.dictionaries(
    st.text(min_size=1, max_size=9).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(list(NUMPY.values())), st.lists(st.integers(0, 4), max_size=3)).map(
        lambda drawn: np.arange(math.prod(drawn[1])).astype(drawn[0]).reshape(drawn[1])
    ),
    max_size=4,
)
AGAIN = "make it again"


def written(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("tensors") / "x.safetensors"
    path.write_bytes(data)
    return path


@given(ARRAYS, st.dictionaries(st.sampled_from(["format", "note"]), st.text(max_size=9)))
def test_a_sealed_file_is_read_alike_by_the_library_and_holds_its_checksum(tmp_path_factory, arrays, metadata):
    data = tensors.seal(save(arrays), metadata)
    assert data == tensors.seal(save(arrays), dict(reversed(metadata.items())))
    assert all(np.array_equal(found, arrays[name]) for name, found in load(data).items())
    path = written(tmp_path_factory, data)
    header = tensors.read_header(path, AGAIN)
    assert {name: entry["shape"] for name, entry in header.tensors.items()} == {name: list(array.shape) for name, array in arrays.items()}
    assert header.start % 8 == 0 and header.metadata == {**metadata, "sha256": tensors.verify(path, header, AGAIN)}


@given(ARRAYS, st.data())
def test_a_flipped_bit_of_the_data_and_a_cut_are_noticed(tmp_path_factory, arrays, data):
    whole = tensors.seal(save(arrays), {})
    start = 8 + int.from_bytes(whole[:8], "little")
    cut = written(tmp_path_factory, whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(UserError, match=r"x\.safetensors: (header length|header|length) .*: the file is damaged, so make it again"):
        tensors.read_header(cut, AGAIN)
    if len(whole) > start:
        flipped = bytearray(whole)
        flipped[data.draw(st.integers(start, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path = written(tmp_path_factory, flipped)
        with pytest.raises(UserError, match=r"__metadata__\.sha256 is [0-9a-f]{64}, but the data give"):
            tensors.verify(path, tensors.read_header(path, AGAIN), AGAIN)


@given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda text: len(text).to_bytes(8, "little") + text))
def test_any_bytes_are_refused_in_one_sentence(tmp_path_factory, data):
    path = written(tmp_path_factory, data)
    with pytest.raises(UserError, match=r"x\.safetensors: .*: the file is damaged, so make it again$"):
        tensors.read_header(path, AGAIN)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "dtype", "shape", "data_offsets", "sha256"]), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "__metadata__"]), JSON, max_size=3))
def test_any_json_as_a_header_is_refused_or_means_what_lies_there(tmp_path_factory, content):
    text = json.dumps(content).encode()
    path = written(tmp_path_factory, len(text).to_bytes(8, "little") + text)
    try:
        header = tensors.read_header(path, AGAIN)
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert all(0 in entry["shape"] for entry in header.tensors.values()), "there are no data"


def entry(start, end, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, r"b\.data_offsets is \[4, 12\], but the shape says \[8, 16\]"),
        ({"a": entry(0, 8, [2]), "b": entry(0, 8, [2])}, r"b\.data_offsets is \[0, 8\], but the shape says \[8, 16\]"),
        ({"a": entry(0, 4, [1]), "b": entry(8, 12, [1])}, r"b\.data_offsets is \[8, 12\], but the shape says \[4, 8\]"),
        ({"a": entry(0, 8, [2])}, r"length of the data is 12 bytes, but the header describes 8"),
        ({"a": entry(0, 4 << 60, [1 << 60])}, r"a\.data_offsets is .*, not a list of sizes"),
        ({"a": entry(0, 12, [True, 3])}, r"a\.shape is \[True, 3\], not a list of sizes"),
        ({"a": entry(0, 12, [12], "F4")}, r"a\.dtype is 'F4', not one of BOOL, U8"),
        (
            {"a": entry(0, 12, [3]), "__metadata__": {"version": "2"}},
            r"__metadata__\.version is 2, but this program reads 1: use the version",
        ),
        ({"a": entry(0, 12, [3]), "__metadata__": {"version": "x"}}, r"__metadata__\.version is 'x', but this program reads 1"),
        ({"a": entry(0, 12, [3]), "__metadata__": {"format": 1}}, r"__metadata__ is not a list of texts by name"),
    ],
)
def test_what_disagrees_is_named(tmp_path, entries, sentence):
    text = json.dumps(entries).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(12))
    with pytest.raises(UserError, match=rf"x\.safetensors: {sentence}"):
        tensors.read_header(path, AGAIN)


def test_a_missing_file_a_folder_and_a_header_without_end_are_named(tmp_path):
    with pytest.raises(UserError, match="x is missing: make it again"):
        tensors.read_header(tmp_path / "x", AGAIN)
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\): make it again"):
        tensors.read_header(tmp_path, AGAIN)
    (tmp_path / "x").write_bytes((1 << 40).to_bytes(8, "little") + b"{" * 1000)
    with pytest.raises(UserError, match=f"header length is {1 << 40} in a file of 1008 bytes"):
        tensors.read_header(tmp_path / "x", AGAIN)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "4300 digits"),
        ("1e999", "1e999 is too large a number"),
        ("[NaN]", "NaN is no number of JSON"),
        ('"\\ud800"', "surrogates not allowed"),
        ("[" + "0," * 40 + "0]", "it has more than 64 bytes"),
    ],
)
def test_json_that_no_writer_of_ours_writes_is_refused(tmp_path, text, sentence):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match=rf"x\.json is not valid JSON \(.*{sentence}"):
        io.read_json(tmp_path / "x.json", 64 if "64" in sentence else io.JSON_LIMIT)
