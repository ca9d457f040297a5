"""Convolution on packed weights, every level and form, against its definition: exactly with int8 activations, closely with float ones."""

import pytest
import torch
import torch.nn.functional as F

from pipeline import ops
from pipeline.ops import native, reference

KERNELS = [
    (level, form) for level in native.module().levels() for form in ("nibble", "dense", "byte") if form != "dense" or level == "avx512"
]
WINDOWS = [  # batch, channels, height, width, outputs; kernel, stride, padding, dilation
    ((2, 3, 11, 13, 20), ((3, 5), (2, 1), (1, 2), (2, 1))),
    ((1, 1, 1, 1, 1), ((1, 1), (1, 1), (0, 0), (1, 1))),
    ((3, 16, 9, 7, 130), ((3, 3), (1, 1), (1, 1), (1, 1))),
    ((2, 5, 8, 8, 17), ((8, 8), (3, 3), (0, 0), (1, 1))),  # one output an image
    ((1, 4, 20, 21, 40), ((2, 2), (2, 3), (3, 0), (1, 4))),
    ((2, 6, 1, 50, 16), ((1, 9), (1, 2), (0, 4), (1, 3))),  # a 1-D convolution
]


@pytest.fixture
def level():
    """`level(name)` chooses a level until the test's end."""
    before = native.module().level()
    yield native.module().use_level
    native.module().use_level(before)


def case(sizes, windows, groups=1):
    batch, channels, height, width, outputs = sizes
    generator = torch.Generator().manual_seed(height)
    columns = channels * windows[0][0] * windows[0][1]
    packed = ops.pack(torch.randint(-2, 3, (outputs, columns), dtype=torch.int8, generator=generator))
    shapes = ((batch, channels, height, width), (outputs, groups), (outputs,))
    return packed, columns, *[torch.randn(shape, generator=generator) for shape in shapes]


def named(windows):
    return dict(zip(("kernel_size", "stride", "padding", "dilation"), windows, strict=True))


@pytest.mark.parametrize(("name", "form"), KERNELS)
def test_int8_results_are_exact(level, name, form):
    level(name)
    for sizes, windows in WINDOWS:
        for groups in {1, sizes[1]}:
            packed, columns, x, scale, bias = case(sizes, windows, groups)
            y = ops.conv2d(x, ops.tile(packed, columns, form), scale, bias, *windows, form, "int8")
            assert torch.equal(y, reference.conv2d(x, packed, scale, bias, named(windows), "int8")), (sizes, windows, groups)


@pytest.mark.parametrize(("name", "form"), KERNELS)
def test_float_results_are_torchs(level, name, form):
    level(name)
    for sizes, windows in WINDOWS:
        packed, columns, x, scale, bias = case(sizes, windows)
        weight = (ops.unpack(packed, columns) * scale).view(-1, sizes[1], *windows[0])
        expected = F.conv2d(x.double(), weight.double(), bias.double(), *windows[1:]).float()
        tiles = ops.tile(packed, columns, form)
        torch.testing.assert_close(ops.conv2d(x, tiles, scale, bias, *windows, form, "float"), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(reference.conv2d(x, packed, scale, bias, named(windows), "float"), expected, rtol=1e-4, atol=1e-4)


def test_strides_bfloat16_missing_bias_and_empty_batches():
    sizes, windows = WINDOWS[2]
    packed, columns, x, scale, _ = case(sizes, windows)
    tiles = ops.tile(packed, columns, "nibble")
    y = ops.conv2d(x, tiles, scale, None, *windows, "nibble", "int8")
    assert torch.equal(y, reference.conv2d(x, packed, scale, None, named(windows), "int8"))
    for other in (x.contiguous(memory_format=torch.channels_last), x.repeat(1, 1, 1, 2)[..., :7]):
        assert torch.equal(ops.conv2d(other, tiles, scale, None, *windows, "nibble", "int8"), y)
    narrow = ops.conv2d(x.bfloat16(), tiles, scale, None, *windows, "nibble", "int8")
    assert torch.equal(narrow, reference.conv2d(x.bfloat16(), packed, scale, None, named(windows), "int8"))
    assert ops.conv2d(x[:0], tiles, scale, None, *windows, "nibble", "int8").shape == (0, 130, 9, 7)
    assert ops.conv2d(x, tiles[:0], scale[:0], None, *windows, "nibble", "float").shape == (3, 0, 9, 7)


def test_a_number_that_is_not_finite_stays_in_its_image():
    sizes, windows = WINDOWS[0]
    packed, columns, x, scale, bias = case(sizes, windows)
    x[1, 2, 3, 4] = float("inf")
    y = ops.conv2d(x, ops.tile(packed, columns, "nibble"), scale, bias, *windows, "nibble", "int8")
    assert y[1].isnan().all() and y[0].isfinite().all()


@pytest.mark.parametrize("activations", ["float", "int8"])
def test_results_do_not_depend_on_threads(activations):
    sizes, windows = (2, 16, 30, 31, 64), ((3, 3), (1, 1), (1, 1), (1, 1))
    packed, columns, x, scale, bias = case(sizes, windows)
    tiles = ops.tile(packed, columns, "nibble")
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        results.append(ops.conv2d(x, tiles, scale, bias, *windows, "nibble", activations))
    torch.set_num_threads(before)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@pytest.mark.parametrize(("sizes", "windows"), WINDOWS)
def test_gradient_of_the_images(sizes, windows):
    packed, columns, x, scale, bias = case(sizes, windows)
    x.requires_grad_()
    y = ops.conv2d(x, ops.tile(packed, columns, "nibble"), scale, bias, *windows, "nibble", "float")
    z = reference.conv2d(x, packed, scale, bias, named(windows), "float")
    gradients = [torch.autograd.grad(each.square().sum(), x)[0] for each in (y, z)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-3)


def test_torch_library_contract_and_compiled_graphs():
    sizes, windows = WINDOWS[0]
    packed, columns, x, scale, bias = case(sizes, windows)
    tiles = ops.tile(packed, columns, "nibble")
    for activations in ("float", "int8"):
        arguments = (x.clone().requires_grad_(), tiles, scale, bias, *windows, "nibble", activations)
        torch.library.opcheck(torch.ops.quintet.conv2d.default, arguments)

    def layer(images):
        return ops.conv2d(images, tiles, scale, bias, *windows, "nibble", "int8").relu()

    assert torch.equal(torch.compile(layer, backend="aot_eager", fullgraph=True)(x), layer(x))


def test_mistakes_name_the_argument():
    sizes, (kernel, stride, padding, dilation) = WINDOWS[0]
    packed, columns, x, scale, bias = case(sizes, WINDOWS[0][1])
    tiles = ops.tile(packed, columns, "nibble")

    def call(x=x, tiles=tiles, scale=scale, kernel=kernel, stride=stride, padding=padding, dilation=dilation):
        ops.conv2d(x, tiles, scale, bias, kernel, stride, padding, dilation, "nibble", "int8")

    for changed, message in (
        ({"x": x[0]}, "x must be float32 or bfloat16 of 4 dimensions"),
        ({"x": x.double()}, "x must be float32 or bfloat16"),
        ({"x": x[:, :2]}, "tiles must have size"),
        ({"tiles": tiles[1:]}, "tiles must have size"),
        ({"scale": scale.repeat(1, 7)}, "scale has 7 groups, which must divide 45 inputs"),
        ({"kernel": (3, 0)}, "kernel_size must be from 1 to"),
        ({"stride": (0, 1)}, "stride must be from 1 to"),
        ({"padding": (0, -1)}, "padding must be from 0 to"),
        ({"dilation": (2**40, 1)}, "dilation must be from 1 to"),
        ({"dilation": (9, 1)}, "kernel_size must not be larger than the padded images x"),
        ({"padding": (2**20, 2**20), "stride": (2**20, 2**20)}, "x must have fewer than 2^31 padded elements an image"),
    ):
        with pytest.raises(ValueError, match=message.replace("^", r"\^")):
            call(**changed)
