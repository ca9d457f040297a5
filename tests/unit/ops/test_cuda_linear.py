"""The linear operation on a GPU against its definition: exactly with int8 activations. C++ tests run the kernels without a GPU too."""

import itertools

import pytest
import torch

from pipeline import ops
from pipeline.errors import UserError
from pipeline.ops import cuda_linear, native, reference
from tests.unit.ops.test_linear import case

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def product(c, activations, x=None, bias=True):
    """On the GPU, brought back."""
    x = c.x if x is None else x
    tiles = ops.tile(c.packed.cuda(), c.digits.shape[1], "warp")
    return ops.linear(x.cuda(), tiles, c.scale.cuda(), c.bias.cuda() if bias else None, "warp", activations).cpu()


SIZES = itertools.product([1, 31, 32, 33, 100, 129], [1, 2, 3, 4, 95, 96, 97, 200, 1600], [1, 2, 3, 8, 9, 16, 17, 33, 64, 65])


def test_int8_results_are_exact_for_every_size():
    for rows, columns, tokens in [*SIZES, (4096, 4096, 1), (1000, 11008, 7), (130, 777, 201)]:
        c = case(rows, columns, tokens, seed=rows)
        assert torch.equal(product(c, "int8"), reference.linear(c.x, c.packed, c.scale, c.bias, "int8")), (rows, columns, tokens)


@pytest.mark.parametrize(("rows", "columns", "tokens"), [(1, 1, 1), (33, 97, 5), (300, 1000, 9), (4096, 256, 3)])
def test_float_results_are_close(rows, columns, tokens):
    c = case(rows, columns, tokens)
    expected = reference.linear(c.x.double(), c.packed, c.scale.double(), c.bias.double(), "float").float()
    torch.testing.assert_close(product(c, "float"), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activations", ["int8", "float"])
def test_scales_of_groups(activations):
    c = case(50, 120, 11)
    for groups in (1, 2, 5, 12):
        c.scale = torch.rand(50, groups)
        y, expected = product(c, activations), reference.linear(c.x, c.packed, c.scale, c.bias, activations)
        if activations == "int8":
            assert torch.equal(y, expected)
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)


def test_every_code_is_decoded():
    digits = torch.tensor([[c % 5 - 2, c // 5 % 5 - 2, c // 25 - 2] for c in range(125)], dtype=torch.int8).repeat(1, 32)
    tiles = ops.tile(ops.pack(digits).cuda(), 96, "warp")
    y = ops.linear(torch.eye(96).cuda() * 127, tiles, torch.ones(125).cuda(), None, "warp", "int8")
    assert torch.equal(y.T.cpu(), digits * 127.0)
    assert torch.equal(ops.untile(tiles, 125, 96, "warp").cpu(), digits)


def test_bfloat16_is_widened_first_and_rounded_last():
    for tokens in (1, 9, 70):
        c = case(40, 50, tokens)
        x = c.x.bfloat16()
        y = product(c, "int8", x=x)
        assert y.dtype == torch.bfloat16
        assert torch.equal(y, reference.linear(x, c.packed, c.scale, c.bias, "int8"))


def test_numbers_that_are_not_finite_stay_in_their_token():
    c = case(10, 20, 5)
    c.x[1, 3], c.x[2, 0], c.x[3] = float("nan"), float("-inf"), 0.0
    y = product(c, "int8")
    assert y[1].isnan().all() and y[2].isnan().all() and torch.equal(y[3], c.bias)
    torch.testing.assert_close(y, reference.linear(c.x, c.packed, c.scale, c.bias, "int8"), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("activations", ["float", "int8"])
def test_empty_inputs_leading_dimensions_and_strides(activations):
    assert product(case(5, 7, 0), activations).shape == (0, 5)
    assert product(case(0, 4, 3), activations).shape == (3, 0)
    c = case(5, 0, 3)
    assert torch.equal(product(c, activations), c.bias.expand(3, 5))
    c = case(20, 30, 24)
    expected = reference.linear(c.x, c.packed, c.scale, None, activations)
    torch.testing.assert_close(product(c, activations, x=c.x.view(2, 3, 4, 30), bias=False), expected.view(2, 3, 4, 20))
    tiles, strided = ops.tile(c.packed.cuda(), 30, "warp"), c.x.T.contiguous().cuda().T
    torch.testing.assert_close(ops.linear(strided, tiles, c.scale.cuda(), None, "warp", activations).cpu(), expected)


def test_calls_in_streams_of_their_own():
    cases = [case(300, 500, 4, seed=i) for i in range(8)]
    results = []
    for c in cases:
        with torch.cuda.stream(torch.cuda.Stream()):
            x = c.x.cuda()
            torch.cuda._sleep(1_000_000)  # the stream is late: a kernel in another would read too early
            x.mul_(2.0)
            results.append(ops.linear(x, ops.tile(c.packed.cuda(), 500, "warp"), c.scale.cuda(), None, "warp", "int8"))
    torch.cuda.synchronize()
    for c, y in zip(cases, results, strict=True):
        assert torch.equal(y.cpu(), reference.linear(c.x * 2, c.packed, c.scale, None, "int8"))


@pytest.mark.parametrize("levels", [3, 5, 15, 256])
def test_embedding_looks_up_rows(levels):
    digits = torch.randint(-(levels // 2), levels - levels // 2, (30, 50)).to(torch.int8)
    packed, scale = ops.pack(digits, levels), torch.rand(30, 2)
    tokens = torch.tensor([[3, 29, 0], [3, 3, 7]])
    rows = ops.embedding(tokens.cuda(), packed.cuda(), scale.cuda(), 50, levels)
    assert torch.equal(rows.cpu(), reference.embedding(tokens, packed, scale, 50, levels))
    assert ops.embedding(tokens[:, :0].cuda(), packed.cuda(), scale.cuda(), 50, levels).shape == (2, 0, 50)
    for outside in (-1, 30, 2**62):
        with pytest.raises(IndexError, match=f"tokens holds {outside}"):
            ops.embedding(torch.tensor([0, outside]).cuda(), packed.cuda(), scale.cuda(), 50, levels)


def test_gradient_of_the_activations():
    c = case(6, 9, 4)
    tiles, x = ops.tile(c.packed.cuda(), 9, "warp"), c.x.cuda().requires_grad_()
    (gradient,) = torch.autograd.grad(ops.linear(x, tiles, c.scale.cuda(), c.bias.cuda(), "warp", "float").square().sum(), x)
    z = reference.linear(c.x.requires_grad_(), c.packed, c.scale, c.bias, "float")
    torch.testing.assert_close(gradient.cpu(), torch.autograd.grad(z.square().sum(), c.x)[0])


def test_torch_library_contract_and_compiled_graphs():
    c = case(20, 30, 4)
    packed, scale, bias, x = c.packed.cuda(), c.scale.cuda(), c.bias.cuda(), c.x.cuda()
    tiles = ops.tile(packed, 30, "warp")
    torch.library.opcheck(torch.ops.quintet.tile.default, (packed, 30, "warp"))
    torch.library.opcheck(torch.ops.quintet.untile.default, (tiles, 20, 30, "warp"))
    torch.library.opcheck(torch.ops.quintet.embedding.default, (torch.tensor([1, 2]).cuda(), packed, scale, 30))
    for activations in ("float", "int8"):
        torch.library.opcheck(torch.ops.quintet.linear.default, (x.clone().requires_grad_(), tiles, scale, bias, "warp", activations))

    def layer(x):
        return ops.linear(x, tiles, scale, bias, "warp", "int8").relu()

    assert torch.equal(torch.compile(layer, backend="aot_eager", fullgraph=True)(x), layer(x))


def mistakes():
    c = case(20, 30, 4)
    packed, scale, x, bad = c.packed.cuda(), c.scale.cuda(), c.x.cuda(), c.packed.clone()
    bad[3, 0] |= 127
    tiles = ops.tile(packed, 30, "warp")
    return {
        "x must be float32 or bfloat16": lambda: ops.linear(x.double(), tiles, scale, None, "warp", "int8"),
        "tiles must have size": lambda: ops.linear(x, tiles[:-1], scale, None, "warp", "int8"),
        "tiles must have dtype uint8": lambda: ops.linear(x, tiles.view(torch.int8), scale, None, "warp", "int8"),
        "tiles must begin at a multiple of 16 bytes": lambda: ops.linear(x, tiles.repeat(2)[1:897], scale, None, "warp", "int8"),
        "scale must be on cuda:0": lambda: ops.linear(x, tiles, c.scale, None, "warp", "int8"),
        "bias must have size 20 in dimension 0, not 19": lambda: ops.linear(x, tiles, scale, c.bias[:19].cuda(), "warp", "int8"),
        "form must be 'warp' on a CUDA device, not 'nibble'": lambda: ops.linear(x, tiles, scale, None, "nibble", "int8"),
        "activations must be 'float' or 'int8', not 'x'": lambda: ops.linear(x, tiles, scale, None, "warp", "x"),
        r"packed\[3, 0\] begins a code 127": lambda: ops.tile(bad.cuda(), 30, "warp"),
        "packed must have size": lambda: ops.tile(packed, 40, "warp"),
        "levels must be 5 on a CUDA device": lambda: ops.tile(packed, 30, "warp", 3),
    }


MESSAGES = mistakes() if torch.cuda.is_available() else ["needs a CUDA device"]


@pytest.mark.parametrize("message", MESSAGES)
def test_mistakes_name_the_argument(message):
    with pytest.raises(ValueError, match=message):
        mistakes()[message]()


def test_a_build_without_cuda_is_a_users_error(monkeypatch):
    monkeypatch.delattr(native.module(), "cuda_workspace")
    with pytest.raises(UserError, match="workspace has no CUDA kernels"):
        cuda_linear._linear(torch.ones(1, 3).cuda(), torch.ones(0), torch.ones(1).cuda(), None, "warp", "int8")
