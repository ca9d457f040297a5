"""Scales of groups of inputs: the linear and embedding operations of every level and form against their definitions."""

import pytest
import torch

from pipeline import ops
from pipeline.ops import native, reference
from pipeline.ops.linear import dense

KERNELS = [
    (level, form) for level in native.module().levels() for form in ("nibble", "dense", "byte") if form != "dense" or level == "avx512"
]
CASES = [  # rows, columns, groups, tokens: whole steps, groups that share a step, several groups in a step, several panels a group
    (16, 24, 2, 1),
    (130, 256, 2, 3),
    (17, 60, 60, 7),
    (129, 70, 10, 2),
    (100, 1152, 3, 5),
    (128, 640, 5, 201),
]


@pytest.fixture
def level():
    """`level(name)` chooses a level until the test's end."""
    before = native.module().level()
    yield native.module().use_level
    native.module().use_level(before)


def case(rows, columns, groups, tokens):
    generator = torch.Generator().manual_seed(columns)
    packed = ops.pack(torch.randint(-2, 3, (rows, columns), dtype=torch.int8, generator=generator))
    numbers = [torch.randn(shape, generator=generator) for shape in ((tokens, columns), (rows, groups), (rows,))]
    return packed, *numbers


@pytest.mark.parametrize(("name", "form"), KERNELS)
def test_int8_results_are_exact(level, name, form):
    level(name)
    for rows, columns, groups, tokens in CASES:
        packed, x, scale, bias = case(rows, columns, groups, tokens)
        tiles = ops.tile(packed, columns, form)
        for each in (None, bias):
            expected = reference.linear(x, packed, scale, each, "int8")
            assert torch.equal(ops.linear(x, tiles, scale, each, form, "int8"), expected), (rows, columns, groups, tokens)
        assert torch.equal(
            ops.linear(x.bfloat16(), tiles, scale, bias, form, "int8"), reference.linear(x.bfloat16(), packed, scale, bias, "int8")
        )


@pytest.mark.parametrize(("name", "form"), KERNELS)
def test_float_results_are_close(level, name, form):
    level(name)
    for rows, columns, groups, tokens in CASES:
        packed, x, scale, bias = case(rows, columns, groups, tokens)
        expected = x.double() @ dense(ops.tile(packed, columns, form), scale, columns, form).double().T + bias
        y = ops.linear(x, ops.tile(packed, columns, form), scale, bias, form, "float")
        torch.testing.assert_close(y, expected.float(), rtol=1e-4, atol=1e-3)


def test_one_group_is_a_scale_a_row_and_the_layout_of_scales_does_not_matter():
    packed, x, scale, bias = case(130, 96, 4, 9)
    tiles = ops.tile(packed, 96, "nibble")
    y = ops.linear(x, tiles, scale, bias, "nibble", "int8")
    assert torch.equal(ops.linear(x, tiles, scale.T.contiguous().T, bias, "nibble", "int8"), y)
    one = ops.linear(x, tiles, scale[:, :1], bias, "nibble", "int8")
    assert torch.equal(one, ops.linear(x, tiles, scale[:, 0], bias, "nibble", "int8"))
    assert not torch.equal(one, y)


@pytest.mark.parametrize("tokens", [1, 40])
def test_results_do_not_depend_on_threads(tokens):
    packed, x, scale, bias = case(1000, 768, 6, tokens)
    tiles = ops.tile(packed, 768, "nibble")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = ops.linear(x, tiles, scale, bias, "nibble", "int8")
    torch.set_num_threads(3)
    assert torch.equal(ops.linear(x, tiles, scale, bias, "nibble", "int8"), expected)
    torch.set_num_threads(before)


def test_gradient_is_the_dense_matrix():
    packed, x, scale, bias = case(20, 30, 5, 4)
    tiles = ops.tile(packed, 30, "nibble")
    x.requires_grad_()
    y, z = ops.linear(x, tiles, scale, bias, "nibble", "float"), reference.linear(x, packed, scale, bias, "float")
    gradients = [torch.autograd.grad(each.square().sum(), x)[0] for each in (y, z)]
    torch.testing.assert_close(*gradients)


def test_rows_of_an_embedding():
    packed, _, scale, _ = case(30, 60, 4, 1)
    tokens = torch.tensor([[3, 29, 0], [3, 3, 7]])
    rows = ops.embedding(tokens, packed, scale, 60)
    assert torch.equal(rows, reference.embedding(tokens, packed, scale, 60))
    assert torch.equal(rows, dense(ops.tile(packed, 60, "nibble"), scale, 60, "nibble")[tokens])


def test_contract_and_mistakes():
    packed, x, scale, bias = case(20, 30, 5, 4)
    tiles = ops.tile(packed, 30, "nibble")
    torch.library.opcheck(torch.ops.quintet.linear.default, (x.clone().requires_grad_(), tiles, scale, bias, "nibble", "int8"))
    torch.library.opcheck(torch.ops.quintet.embedding.default, (torch.tensor([1, 2]), packed, scale, 30))
    assert ops.linear(x[:, :0], tiles[:0], scale, bias, "nibble", "int8").equal(bias.expand(4, 20))
    for bad in (scale[:, :4], scale[:, :0]):
        with pytest.raises(ValueError, match=r"scale has . groups, which must divide 30 inputs"):
            ops.linear(x, tiles, bad, bias, "nibble", "int8")
        with pytest.raises(ValueError, match=r"scale has . groups, which must divide 30 inputs"):
            ops.embedding(torch.tensor([0]), packed, bad, 30)
    with pytest.raises(ValueError, match="scale must have 1 or 2 dimensions, not 3"):
        ops.linear(x, tiles, scale[None], bias, "nibble", "int8")
