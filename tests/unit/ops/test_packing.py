import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import ops
from pipeline.ops import reference


def digits_of(rows, columns, seed=0):
    return torch.randint(-2, 3, (rows, columns), dtype=torch.int8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("columns", [*range(0, 30), 47, 48, 49, 128, 4097])
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_kernel_equals_definition(rows, columns):
    digits = digits_of(rows, columns)
    packed = ops.pack(digits)
    assert packed.shape == (rows, ops.bytes_in_row(columns))
    assert torch.equal(packed, reference.pack(digits))
    assert torch.equal(ops.unpack(packed, columns), digits)
    assert torch.equal(reference.unpack(packed, columns), digits)


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
@given(st.integers(0, 60), st.data())
def test_any_bytes_are_refused_or_canonical(columns, data):
    """The kernel and the definition agree on which bytes are packed weights, and what is accepted packs to the same bytes again."""
    size = ops.bytes_in_row(columns)
    raw = torch.tensor([list(data.draw(st.binary(min_size=size, max_size=size)))], dtype=torch.uint8).view(1, size)
    try:
        expected = reference.unpack(raw, columns)
    except ValueError:
        with pytest.raises(ValueError, match=r"packed\[0, "):
            ops.unpack(raw, columns)
    else:
        assert torch.equal(ops.unpack(raw, columns), expected)
        assert torch.equal(ops.pack(expected), raw)


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
