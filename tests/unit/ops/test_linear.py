"""The linear operation of every level, form and width against its definition: exactly with int8 activations, closely with float ones."""

import itertools
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch

from pipeline import ops
from pipeline.ops import native, reference

LEVELS = native.module().levels()
FORMS = ("nibble", "dense", "byte")
KERNELS = [(level, form) for level in LEVELS for form in FORMS if form != "dense" or level == "avx512"]
WIDTHS = {"nibble": [3, 4, 5, 7, 9, 15], "dense": [5], "byte": list(reference.CODES)}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def case(rows, columns, tokens, seed=0, levels=5):
    generator = torch.Generator().manual_seed(seed)
    digits = torch.randint(-(levels // 2), levels - levels // 2, (rows, columns), dtype=torch.int8, generator=generator)
    return SimpleNamespace(
        levels=levels,
        digits=digits,
        packed=ops.pack(digits, levels),
        x=torch.randn(tokens, columns, generator=generator),
        scale=torch.rand(rows, generator=generator),
        bias=torch.randn(rows, generator=generator),
    )


def product(c, form, activations, x=None, bias=True):
    x = c.x if x is None else x
    tiles = ops.tile(c.packed, c.digits.shape[1], form, c.levels)
    return ops.linear(x, tiles, c.scale, c.bias if bias else None, form, activations)


SIZES = [*itertools.product([1, 15, 16, 17, 100, 128, 129, 272], [1, 3, 4, 7, 8, 9, 12, 13, 100, 200], [1, 2, 3, 5, 6, 7]), (130, 777, 201)]


@pytest.mark.parametrize(("name", "form"), KERNELS)
def test_int8_results_are_exact_for_every_size(level, name, form):
    level(name)
    for case_number, (rows, columns, tokens) in enumerate(SIZES[:: 1 if name != "scalar" else 3]):
        levels = WIDTHS[form][case_number % len(WIDTHS[form])]
        c = case(rows, columns, tokens, seed=rows, levels=levels)
        expected = reference.linear(c.x, c.packed, c.scale, c.bias, "int8", levels)
        assert torch.equal(product(c, form, "int8"), expected), (rows, columns, tokens, levels)


@pytest.mark.parametrize(("name", "form"), KERNELS)
def test_float_results_are_close_for_every_size(level, name, form):
    level(name)
    for case_number, (rows, columns, tokens) in enumerate(SIZES[::5]):
        levels = WIDTHS[form][case_number % len(WIDTHS[form])]
        c = case(rows, columns, tokens, seed=columns, levels=levels)
        expected = reference.linear(c.x.double(), c.packed, c.scale.double(), c.bias.double(), "float", levels).float()
        torch.testing.assert_close(product(c, form, "float"), expected, rtol=1e-4, atol=1e-4 * levels)


@pytest.mark.parametrize(("name", "form"), KERNELS)
def test_extreme_digits_and_activations_do_not_overflow(level, name, form):
    """The largest sums: 127 times the highest or lowest digit in every place, over more columns than 16-bit sums can hold."""
    level(name)
    levels = WIDTHS[form][-1]
    for digit in (-(levels // 2), levels - 1 - levels // 2):
        c = case(128, 5000, 7, levels=levels)
        c.digits.fill_(digit)
        c.packed, c.x = ops.pack(c.digits, levels), torch.full((7, 5000), -3.0)
        assert torch.equal(product(c, form, "int8"), reference.linear(c.x, c.packed, c.scale, c.bias, "int8", levels))
        sums = ops.linear(c.x, ops.tile(c.packed, 5000, form, levels), torch.ones(128), None, form, "int8")
        torch.testing.assert_close(sums, torch.full((7, 128), -3.0 * digit * 5000), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("name", "form"), KERNELS)
def test_every_code_is_decoded(level, name, form):
    """A row for each code at each of its places, seen one column at a time."""
    level(name)
    digits = torch.tensor([[c % 5 - 2, c // 5 % 5 - 2, c // 25 - 2] for c in range(125)], dtype=torch.int8).repeat(1, 8)
    tiles = ops.tile(ops.pack(digits), 24, form)
    y = ops.linear(torch.eye(24) * 127, tiles, torch.ones(125), None, form, "int8")
    assert torch.equal(y.T, digits * 127.0)


@pytest.mark.parametrize(("form", "levels"), [(form, levels) for form in FORMS for levels in WIDTHS[form]])
def test_tiles_hold_all_digits(form, levels):
    for rows, columns in [(1, 1), (16, 8), (17, 13), (128, 96), (129, 100), (300, 12), (0, 5), (5, 0), (0, 0)]:
        c = case(rows, columns, 1, levels=levels)
        assert torch.equal(ops.untile(ops.tile(c.packed, columns, form, levels), rows, columns, form), c.digits)


@pytest.mark.parametrize("activations", ["float", "int8"])
def test_empty_inputs(activations):
    c = case(5, 7, 0)
    assert product(c, "nibble", activations).shape == (0, 5)
    c = case(5, 0, 3)
    assert torch.equal(product(c, "nibble", activations), c.bias.expand(3, 5))
    c = case(0, 4, 3)
    assert product(c, "nibble", activations).shape == (3, 0)


@pytest.mark.parametrize("activations", ["float", "int8"])
def test_leading_dimensions_strides_and_missing_bias(activations):
    c = case(20, 30, 24)
    expected = reference.linear(c.x, c.packed, c.scale, None, activations)
    y = product(c, "nibble", activations, x=c.x.view(2, 3, 4, 30), bias=False)
    torch.testing.assert_close(y, expected.view(2, 3, 4, 20))
    strided = c.x.T.contiguous().T
    torch.testing.assert_close(product(c, "nibble", activations, x=strided, bias=False), expected)
    torch.testing.assert_close(product(c, "nibble", activations, x=c.x[0], bias=False), expected[0])


@pytest.mark.parametrize(("name", "form"), KERNELS)
def test_bfloat16_is_widened_first_and_rounded_last(level, name, form):
    level(name)
    c = case(40, 50, 9)
    x = c.x.bfloat16()
    y = product(c, form, "int8", x=x)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, reference.linear(x, c.packed, c.scale, c.bias, "int8"))
    assert torch.equal(product(c, form, "float", x=x), product(c, form, "float", x=x.float()).bfloat16())


@pytest.mark.parametrize("name", LEVELS)
def test_numbers_that_are_not_finite_stay_in_their_token(level, name):
    level(name)
    c = case(10, 20, 5)
    c.x[1, 3], c.x[2, 0], c.x[3] = float("nan"), float("-inf"), 0.0
    y = product(c, "nibble", "int8")
    assert y[1].isnan().all() and y[2].isnan().all()
    assert torch.equal(y[3], c.bias)
    torch.testing.assert_close(y, reference.linear(c.x, c.packed, c.scale, c.bias, "int8"), rtol=0, atol=0, equal_nan=True)
    c.x = c.x.nan_to_num(0, 0, 0) * 1e-38
    assert torch.equal(product(c, "nibble", "int8"), reference.linear(c.x, c.packed, c.scale, c.bias, "int8"))


@pytest.mark.parametrize("activations", ["float", "int8"])
@pytest.mark.parametrize("tokens", [1, 33])
def test_results_do_not_depend_on_threads(activations, tokens):
    c = case(1000, 800, tokens)
    expected = product(c, "nibble", activations)
    for threads in (2, 3, 8):
        torch.set_num_threads(threads)
        assert torch.equal(product(c, "nibble", activations), expected)


def test_calls_from_several_threads_and_after_a_fork():
    c = case(1000, 800, 8)
    torch.set_num_threads(2)
    expected = product(c, "nibble", "int8")
    failures = []

    def work():
        for _ in range(20):
            if not torch.equal(product(c, "nibble", "int8"), expected):
                failures.append(1)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures
    tiles, y = ops.tile(c.packed, 800, "nibble"), torch.empty(8, 1000)  # here, since torch's own threads do not outlive a fork
    child = os.fork()
    if child == 0:
        native.call("linear_float32", c.x, tiles, "nibble", c.scale[None], c.bias, "int8", 2, y)
        os._exit(0 if torch.equal(y, expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_embedding_refuses_tokens_outside_of_the_matrix():
    c = case(30, 50, 1)
    for outside in (-1, 30, 2**62):
        with pytest.raises(IndexError, match=f"tokens holds {outside}"):
            ops.embedding(torch.tensor([0, outside]), c.packed, c.scale, 50)


def test_gradient_of_the_activations():
    c = case(6, 9, 4)
    tiles = ops.tile(c.packed, 9, "nibble")
    x = c.x.requires_grad_()
    y = ops.linear(x, tiles, c.scale, c.bias, "nibble", "float")
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    z = reference.linear(x, c.packed, c.scale, c.bias, "float")
    torch.testing.assert_close(gradient, torch.autograd.grad(z.square().sum(), x)[0])


def test_torch_library_contract():
    c = case(20, 30, 4)
    tiles = ops.tile(c.packed, 30, "nibble")
    torch.library.opcheck(torch.ops.quintet.tile.default, (c.packed, 30, "nibble"))
    torch.library.opcheck(torch.ops.quintet.untile.default, (tiles, 20, 30, "nibble"))
    torch.library.opcheck(torch.ops.quintet.embedding.default, (torch.tensor([1, 2]), c.packed, c.scale, 30))
    for activations in ("float", "int8"):
        arguments = (c.x.clone().requires_grad_(), tiles, c.scale, c.bias, "nibble", activations)
        torch.library.opcheck(torch.ops.quintet.linear.default, arguments)


def test_compiled_graphs_call_the_kernel():
    c = case(20, 30, 4)
    tiles = ops.tile(c.packed, 30, "nibble")

    def layer(x):
        return ops.linear(x, tiles, c.scale, c.bias, "nibble", "int8").relu()

    assert torch.equal(torch.compile(layer, backend="aot_eager", fullgraph=True)(c.x), layer(c.x))


def mistakes():
    c = case(20, 30, 4)
    tiles = ops.tile(c.packed, 30, "nibble")
    bad = ops.pack(c.digits)
    bad[3, 0] |= 127
    return {
        "x must be float32 or bfloat16": lambda: ops.linear(c.x.double(), tiles, c.scale, None, "nibble", "int8"),
        "tiles must have size": lambda: ops.linear(c.x[:, :20], tiles, c.scale, None, "nibble", "int8"),
        "tiles must have dtype uint8": lambda: ops.linear(c.x, tiles.view(torch.int8), c.scale, None, "nibble", "int8"),
        "scale must have dtype float32": lambda: ops.linear(c.x, tiles, c.scale.bfloat16(), None, "nibble", "int8"),
        "bias must have size 20 in dimension 0, not 19": lambda: ops.linear(c.x, tiles, c.scale, c.bias[:19], "nibble", "int8"),
        "form must be 'nibble', 'dense' or 'byte', not 'x'": lambda: ops.linear(c.x, tiles, c.scale, None, "x", "int8"),
        "activations must be 'float' or 'int8', not 'x'": lambda: ops.linear(c.x, tiles, c.scale, None, "nibble", "x"),
        r"packed\[3, 0\] begins a code 127": lambda: ops.tile(bad, 30, "nibble"),
        "packed must have size": lambda: ops.tile(c.packed, 40, "nibble"),
        "columns must be from 0 to": lambda: ops.tile(c.packed, -1, "nibble"),
        "tiles must have size ": lambda: ops.untile(tiles[:-1], 20, 30, "nibble"),
        "tokens must have dtype int64": lambda: ops.embedding(torch.tensor([1.0]), c.packed, c.scale, 30),
    }


@pytest.mark.parametrize("message", mistakes())
def test_mistakes_name_the_argument(message):
    with pytest.raises(ValueError, match=message):
        mistakes()[message]()


def test_dense_tiles_need_their_level(level):
    level("scalar")
    with pytest.raises(ValueError, match="form 'dense' cannot be computed on level scalar"):
        product(case(2, 3, 1), "dense", "int8")


def test_level_from_the_environment():
    code = "from pipeline.ops import native; print(native.module().level())"

    def run(name):
        environment = {**os.environ, "QUINTET_CPU": name}
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)

    assert run("scalar").stdout == "scalar\n"
    assert "UserError: QUINTET_CPU is 'sse', but this machine's levels are scalar" in run("sse").stderr


def test_the_form_of_another_device_is_refused():
    c = case(40, 100, 2)
    assert ops.best_form(4000, device="cuda") == "warp"
    with pytest.raises(ValueError, match=r"form must be .*, not 'warp'"):
        ops.linear(c.x, torch.zeros(2 * 2 * 896, dtype=torch.uint8), c.scale, None, "warp", "int8")
