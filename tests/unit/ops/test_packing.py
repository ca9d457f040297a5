import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import ops
from pipeline.ops import reference

WIDTHS = list(reference.CODES)
SIZES = [*range(0, 50), 79, 80, 81, 128, 4097]


def digits_of(rows, columns, levels=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-(levels // 2), levels - levels // 2, (rows, columns), dtype=torch.int8, generator=generator)


@pytest.mark.parametrize("levels", WIDTHS)
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_kernel_equals_definition(rows, levels):
    for columns in SIZES:
        digits = digits_of(rows, columns, levels)
        packed = ops.pack(digits, levels)
        assert packed.shape == (rows, ops.bytes_in_row(columns, levels))
        assert torch.equal(packed, reference.pack(digits, levels)), columns
        assert torch.equal(ops.unpack(packed, columns, levels), digits), columns
        assert torch.equal(reference.unpack(packed, columns, levels), digits), columns


@pytest.mark.parametrize("levels", WIDTHS)
def test_every_number_of_a_codes_bits_is_a_code_or_refused(levels):
    """Each number at the first place of a row of one code, against arithmetic."""
    (count, bits), offset = reference.CODES[levels], levels // 2
    numbers = torch.arange(2**bits)
    codes = numbers[: levels**count]
    digits = (codes[:, None] // levels ** torch.arange(count) % levels - offset).to(torch.int8)
    places = ops.bytes_in_row(count, levels)
    packed = (numbers[:, None] >> 8 * torch.arange(places) & 255).to(torch.uint8)
    assert torch.equal(ops.pack(digits, levels), packed[: len(codes)])
    assert torch.equal(ops.unpack(packed[: len(codes)], count, levels), digits)
    for number in {levels**count, 2**bits - 1} & set(range(levels**count, 2**bits)):
        with pytest.raises(ValueError, match=rf"packed\[0, 0\] begins a code {number}, which must be at most {levels**count - 1}"):
            ops.unpack(packed[number : number + 1], count, levels)


@pytest.mark.parametrize(("levels", "bits"), [(3, 1.6), (4, 2), (5, 7 / 3), (7, 17 / 6), (9, 3.2), (15, 4), (256, 8)])
def test_bits_a_weight(levels, bits):
    assert 8 * ops.bytes_in_row(2400, levels) == bits * 2400


@pytest.mark.parametrize(("levels", "lowest", "highest"), [(3, -1, 1), (4, -2, 1), (7, -3, 3), (9, -4, 4), (15, -7, 7), (256, -128, 127)])
def test_digits_of_each_width(levels, lowest, highest):
    digits = torch.tensor([[lowest, highest]], dtype=torch.int8)
    assert torch.equal(ops.unpack(ops.pack(digits, levels), 2, levels), digits)
    for outside in {lowest - 1, highest + 1} - {-129, 128}:
        with pytest.raises(ValueError, match=rf"digits\[0, 0\] = {outside} must be a digit from {lowest} to {highest}"):
            ops.pack(torch.tensor([[outside]], dtype=torch.int8), levels)


def test_every_code_by_hand():
    digits = torch.tensor([[c % 5 - 2, c // 5 % 5 - 2, c // 25 - 2] for c in range(125)], dtype=torch.int8)
    assert ops.pack(digits).flatten().tolist() == list(range(125))


def test_bits_lie_as_the_format_says():
    digits = torch.tensor([[-2, -2, -2, 2, 2, 2, -1, -2, -2, 1]], dtype=torch.int8)
    codes = [0, 124, 1, 3 + 5 * 2 + 25 * 2]
    stream = sum(code << 7 * i for i, code in enumerate(codes))
    assert bytes(ops.pack(digits).flatten().tolist()) == stream.to_bytes(4, "little")


def test_transposed_and_sliced_inputs():
    digits = digits_of(64, 60)
    assert torch.equal(ops.pack(digits.T), ops.pack(digits.T.contiguous()))
    packed = ops.pack(digits)
    assert torch.equal(ops.unpack(packed[::2], 60), digits[::2])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(WIDTHS), st.integers(0, 60), st.data())
def test_any_bytes_are_refused_or_canonical(levels, columns, data):
    """The kernel and the definition agree on which bytes are packed weights, and what is accepted packs to the same bytes again."""
    size = ops.bytes_in_row(columns, levels)
    raw = torch.tensor([list(data.draw(st.binary(min_size=size, max_size=size)))], dtype=torch.uint8).view(1, size)
    try:
        expected = reference.unpack(raw, columns, levels)
    except ValueError:
        with pytest.raises(ValueError, match=r"packed\[0, "):
            ops.unpack(raw, columns, levels)
    else:
        assert torch.equal(ops.unpack(raw, columns, levels), expected)
        assert torch.equal(ops.pack(expected, levels), raw)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(WIDTHS), st.integers(1, 4), st.integers(1, 100), st.data())
def test_a_flipped_bit_is_refused_in_its_row_or_gives_other_digits(levels, rows, columns, data):
    digits = digits_of(rows, columns, levels)
    packed = ops.pack(digits, levels)
    row, bit = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, 8 * packed.shape[1] - 1))
    packed[row, bit // 8] ^= 1 << bit % 8
    try:
        found = ops.unpack(packed, columns, levels)
    except ValueError as error:
        assert f"packed[{row}, " in str(error)
    else:
        assert (found != digits).any(1).nonzero().flatten().tolist() == [row]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.pack(torch.zeros(2, 3)), "digits must have dtype int8"),
        (lambda: ops.pack(torch.zeros(3, dtype=torch.int8)), "digits must have 2 dimensions, not 1"),
        (lambda: ops.pack(torch.tensor([[0, 1], [-3, 0]], dtype=torch.int8)), r"digits\[1, 0\] = -3"),
        (lambda: ops.unpack(torch.zeros(2, 3, dtype=torch.int8), 6), "packed must have dtype uint8"),
        (lambda: ops.unpack(torch.zeros(2, 3, dtype=torch.uint8), 6), "packed must have size 2 in dimension 1, not 3"),
        (lambda: ops.unpack(torch.zeros(2, 3, dtype=torch.uint8), -1), "columns must be at least 0"),
        (lambda: ops.unpack(torch.zeros(6, dtype=torch.uint8), 6), "packed must have 2 dimensions, not 1"),
        (lambda: ops.unpack(torch.full((1, 1), 125, dtype=torch.uint8), 3), r"packed\[0, 0\] begins a code 125"),
        (lambda: ops.unpack(torch.full((1, 1), 127, dtype=torch.uint8), 3), r"packed\[0, 0\] begins a code 127"),
        (lambda: ops.unpack(torch.full((1, 1), 0x80, dtype=torch.uint8), 3), "only zeros after the last column"),
        (lambda: ops.unpack(torch.zeros(1, 1, dtype=torch.uint8), 1), "only zeros after the last column"),
        (lambda: ops.unpack(torch.zeros(1, 3, dtype=torch.uint8), 1, 7), r"packed\[0, 2\] = 0 must hold only zeros after the last column"),
        (lambda: ops.pack(torch.zeros(2, 3, dtype=torch.int8), 6), "levels must be one of 3, 4, 5, 7, 9, 15, 256, not 6"),
        (lambda: ops.unpack(torch.zeros(2, 3, dtype=torch.uint8), 6, 0), "levels must be 3, 4, 5, 7, 9, 15 or 256, not 0"),
    ],
)
def test_mistakes_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_torch_library_contract():
    torch.library.opcheck(torch.ops.quintet.pack.default, (digits_of(4, 50),))
    torch.library.opcheck(torch.ops.quintet.unpack.default, (ops.pack(digits_of(4, 50)), 50))


def test_export_sees_one_operation():
    class Unpack(torch.nn.Module):
        def forward(self, packed):
            return ops.unpack(packed, 50).float().sum(1)

    packed = ops.pack(digits_of(4, 50))
    program = torch.export.export(Unpack(), (packed,))
    assert [str(node.target) for node in program.graph.nodes if "quintet" in str(node.target)] == ["quintet.unpack.default"]
    assert torch.equal(program.module()(packed), Unpack()(packed))
