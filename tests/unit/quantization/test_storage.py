"""What a file holds of packed matrices: the same back for every width, its size, its versions."""

import json
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from pipeline import ops, quantization
from pipeline.errors import UserError
from pipeline.ops.reference import CODES
from pipeline.quantization import grid, storage, stream
from pipeline.quantization.modules import PackedMatrix
from tests.unit.quantization.small_model import describe_anew, description, save


def matrix_of(rows, columns, levels=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    digits, scale = grid.quantize(torch.randn(rows, columns, generator=generator) * torch.rand(rows, 1, generator=generator), levels)
    return PackedMatrix(ops.pack(digits, levels), scale, columns, levels)


def write(directory, matrices, **changes):
    save_file(storage.tensors_of(matrices, {"norm": torch.ones(3)}), directory / "model.safetensors")
    section = {**storage.describe(matrices), **changes}
    configure(directory, section)
    return section


def configure(directory, section):
    (directory / "config.json").write_text(json.dumps({"quintet": {"family": "any"}, "quantization_config": section}))


def write_older(directory, matrices, version):
    """Version 2: a tensor each for a matrix's codes and scales; version 3: all of them behind each other in one."""
    tensors = {}
    for name, matrix in sorted(matrices.items()):
        tensors[f"{name}.codes"] = ops.pack(matrix.digits().view(1, -1), matrix.levels)[0]
        tensors[f"{name}.scale"] = storage._steps_below(matrix.scale)
    if version == 3:
        tensors = {"quantized": torch.cat(list(tensors.values()))}
    save_file({"norm": torch.ones(3), **tensors}, directory / "model.safetensors")
    entries = storage._description(matrices)
    configure(directory, {"quant_method": "quintet", "version": version, "levels": storage._usual(matrices), "matrices": entries})
    return tensors


def same(a, b):
    return a.levels == b.levels and a.columns == b.columns and torch.equal(a.codes, b.codes) and torch.equal(a.scale, b.scale)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(CODES)), st.integers(0, 9), st.integers(0, 40), st.integers(0, 99))
def test_every_width_and_size_comes_back(tmp_path_factory, levels, rows, columns, seed):
    directory = tmp_path_factory.mktemp("model")
    matrix = matrix_of(rows, columns, levels, seed)
    if rows > 2:
        matrix.scale[0], matrix.scale[1:2] = 0, grid.stored(matrix.scale.float() * 2.0**-40)[1:2]
        matrix.scale.copy_(grid.stored(matrix.scale))
    write(directory, {"a": matrix})
    _, found, others = storage.read(directory)
    assert same(found["a"], matrix) and others.keys() == {"norm"}


def test_levels_are_those_of_most_matrices_with_exceptions_by_name(tmp_path):
    matrices = {"a": matrix_of(4, 7, 15), "b": matrix_of(4, 8), "c": matrix_of(9, 4), "d": matrix_of(2, 3, 256)}
    section = write(tmp_path, matrices)
    assert section == {"quant_method": "quintet", "version": 4, "levels": 5}
    entries = description(tmp_path)
    assert {name: entry.get("levels") for name, entry in entries.items()} == {"a": 15, "b": None, "c": None, "d": 256}
    _, found, _ = storage.read(tmp_path)
    assert all(same(found[name], matrix) for name, matrix in matrices.items())


@pytest.mark.parametrize(("rows", "columns", "bits"), [(64, 64, 2.55), (128, 128, 2.35), (384, 128, 2.31), (4096, 4096, 2.22)])
def test_bits_a_weight_with_scales_and_description(rows, columns, bits):
    """Of normally distributed weights at the best step (0.843 deviations, Max 1960), whose digits' entropy is 2.20 bits."""
    normal = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    digits = (normal / 0.843).round().clamp(-2, 2).to(torch.int8)
    matrix = PackedMatrix(ops.pack(digits), torch.ones(rows, dtype=grid.SCALE_TYPE), columns)
    assert 8 * storage.tensors_of({"a": matrix}, {})["quantized"].numel() / (rows * columns) <= bits


def test_rows_share_bytes():
    """Scales, then digits in one row, three a byte."""
    digits = torch.tensor([[1, -2], [0, 2], [-1, 1]], dtype=torch.int8)
    matrix = PackedMatrix(ops.pack(digits), torch.tensor([1.0, 0.5, 0.0]).to(grid.SCALE_TYPE), 2)
    tensors = storage.tensors_of({"a": matrix}, {})
    described, rest = stream.described(tensors["quantized"])
    assert tensors.keys() == {"quantized"} and described == {"a": {"shape": [3, 2], "largest_scale": 1.0}}
    assert stream.inflate(rest, 5).tolist() == [0, 16, 255, 3 + 5 * 0 + 25 * 2, 4 + 5 * 1 + 25 * 3]


def test_matrices_lie_in_the_order_of_levels_and_names():
    matrices = {name: matrix_of(2, 6, levels) for name, levels in {"c": 5, "b": 15, "a": 15, "d": 5}.items()}
    rest = stream.described(storage.tensors_of(matrices, {})["quantized"])[1]
    parts = [storage._steps_below(matrices[name].scale) for name in "cdab"]
    parts += [stream.bytes_of(matrices[name].digits().flatten(), matrices[name].levels) for name in "cdab"]
    assert torch.equal(stream.inflate(rest, 8 + 2 * 4 + 2 * 6), torch.cat(parts))


def test_the_first_version_still_loads(tmp_path):
    matrix = matrix_of(6, 10)
    save_file({"a.codes": matrix.codes, "a.scale": matrix.scale * 1.01}, tmp_path / "model.safetensors")
    section = {"quant_method": "quintet", "version": 1, "levels": 5, "bits_per_code": 7, "matrices": {"a": [6, 10]}}
    (tmp_path / "config.json").write_text(json.dumps({"quintet": {"family": "any"}, "quantization_config": section}))
    found = storage.read(tmp_path)[1]["a"]
    assert torch.equal(found.codes, matrix.codes) and torch.equal(found.scale, matrix.scale * 1.01)
    for bad in (-1.0, float("nan")):
        save_file({"a.codes": matrix.codes, "a.scale": matrix.scale * bad}, tmp_path / "model.safetensors")
        with pytest.raises(UserError, match=r"a.scale holds a number that is negative or not finite"):
            storage.read(tmp_path)


@pytest.mark.parametrize("version", [2, 3])
def test_the_versions_without_compression_still_load(tmp_path, version):
    matrices = {"b": matrix_of(4, 7, 15), "a": matrix_of(6, 10)}
    tensors = write_older(tmp_path, matrices, version)
    _, found, others = storage.read(tmp_path)
    assert all(same(found[name], matrix) for name, matrix in matrices.items()) and others.keys() == {"norm"}
    missing = max(tensors)
    del tensors[missing]
    save_file({"norm": torch.ones(3), **tensors}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=f"has no tensor {re.escape(missing)}"):
        storage.read(tmp_path)


def test_the_description_costs_little(tmp_path):
    """About 15 bytes a matrix, for its name, shape and largest scale, and one entry in the file's header for all."""
    matrices = {f"model.layers.{i}.mlp.up_proj.weight": matrix_of(8, 8, seed=i) for i in range(40)}
    write(tmp_path, matrices)
    assert (tmp_path / "model.safetensors").stat().st_size < sum(matrix.nbytes for matrix in matrices.values()) + 12 + 300 + 40 * 15


def test_scales_of_groups(tmp_path):
    generator = torch.Generator().manual_seed(1)
    digits = torch.randint(-2, 3, (6, 12), dtype=torch.int8, generator=generator)
    scale = grid.stored(torch.rand(6, 3, generator=generator))
    matrix = PackedMatrix(ops.pack(digits), scale.to(grid.SCALE_TYPE), 12)
    assert torch.equal(matrix.dense(), digits * scale.repeat_interleave(4, 1))
    write(tmp_path, {"a": matrix})
    assert description(tmp_path)["a"]["groups"] == 3
    found = storage.read(tmp_path)[1]["a"]
    assert same(found, matrix) and found.nbytes == 72 / 3 * 7 / 8 + 18
    found.arrange("nibble", "float")
    x = torch.randn(4, 12, generator=generator)
    torch.testing.assert_close(found.multiply(x), x @ matrix.dense().T)
    torch.testing.assert_close(found.rows(torch.tensor([5, 0])), matrix.dense()[[5, 0]])
    describe_anew(tmp_path, lambda entries: entries["a"].update(groups=5))
    with pytest.raises(UserError, match=r"\['a'\] has 5 groups, which do not divide its 12 columns"):
        storage.read(tmp_path)


def test_a_directory_without_a_quantized_matrix(tmp_path):
    write(tmp_path, {})
    _, found, others = storage.read(tmp_path)
    assert found == {} and others.keys() == {"norm"}


def test_scales_that_no_file_holds_are_a_programmers_error():
    matrix = matrix_of(2, 3)
    matrix.scale.copy_(torch.tensor([0.3, 0.4]))
    with pytest.raises(ValueError, match=r"scale must hold numbers that grid\.stored leaves"):
        storage.tensors_of({"a": matrix}, {})


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_holds_valid_weights(tmp_path_factory, data):
    """Any byte of the tensors changed, or the file cut: a `UserError`, or other digits and scales that are valid themselves."""
    directory = tmp_path_factory.mktemp("model")
    levels = data.draw(st.sampled_from(list(CODES)))
    write(directory, {"a": matrix_of(5, 11, levels)})
    path = directory / "model.safetensors"
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[place:]
    path.write_bytes(content)
    try:
        matrices = storage.read(directory)[1]
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert matrices["a"].digits().shape == (5, 11)
        storage.tensors_of(matrices, {})


def test_a_model_of_mixed_widths_computes_what_its_weights_stand_for(model, tmp_path):
    widths = list(CODES)
    packed = {}
    for i, (name, weight) in enumerate(model.quantizable().items()):
        levels = widths[i % len(widths)]
        digits, scale = grid.quantize(weight.detach(), levels)
        packed[name] = PackedMatrix(ops.pack(digits, levels), scale, weight.shape[1], levels)
    save(model, packed, tmp_path)
    tokens = torch.arange(12).view(2, 6) % 11
    with torch.no_grad():
        for name, parameter in model.quantizable().items():
            parameter.copy_(packed[name].dense())
        torch.testing.assert_close(quantization.load(tmp_path)(tokens)[0], model(tokens)[0], rtol=1e-4, atol=1e-4)
