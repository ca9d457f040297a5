"""Tiles, products and lookups of every number of levels, at the edges that a width has."""

import pytest
import torch

from pipeline import ops
from pipeline.ops import native, reference

FORMS = {"nibble": [3, 4, 5, 7, 9, 15], "dense": [5], "byte": list(reference.CODES)}
KERNELS = [(level, form) for level in native.module().levels() for form in FORMS if form != "dense" or level == "avx512"]


def digits_of(rows, columns, levels):
    generator = torch.Generator().manual_seed(levels)
    return torch.randint(-(levels // 2), levels - levels // 2, (rows, columns), dtype=torch.int8, generator=generator)


@pytest.mark.parametrize(("name", "form"), KERNELS)
@pytest.mark.parametrize("tokens", [1, 4])
def test_the_widest_matrix_does_not_overflow(level, name, form, tokens):
    level(name)
    levels, columns = FORMS[form][-1], {"nibble": 1 << 20, "dense": 1 << 22, "byte": 1 << 16}[form]
    digits = torch.full((1, columns), -(levels // 2), dtype=torch.int8)
    tiles = ops.tile(ops.pack(digits, levels), columns, form, levels)
    sums = ops.linear(torch.full((tokens, columns), -127.0), tiles, torch.ones(1), None, form, "int8")
    assert (sums == float(127 * (levels // 2) * columns)).all()
    with pytest.raises(ValueError, match=f"columns must be from 0 to {columns}, not {columns + 1}"):
        ops.tile(ops.pack(torch.zeros(1, columns + 1, dtype=torch.int8), levels), columns + 1, form, levels)


@pytest.mark.parametrize(("name", "form"), KERNELS)
def test_every_digit_of_every_width(level, name, form):
    level(name)
    for levels in FORMS[form]:
        digits = torch.arange(-(levels // 2), levels - levels // 2).to(torch.int8).expand(20, levels).T
        tiles = ops.tile(ops.pack(digits, levels), 20, form, levels)
        for activations in ("int8", "float"):
            y = ops.linear(torch.eye(20) * 127, tiles, torch.ones(levels), None, form, activations)
            assert torch.equal(y.T, digits * 127.0), (levels, activations)


@pytest.mark.parametrize("levels", list(reference.CODES))
def test_embedding_looks_up_rows(levels):
    digits = digits_of(30, 50, levels)
    packed, scale = ops.pack(digits, levels), torch.rand(30, generator=torch.Generator().manual_seed(1))
    tokens = torch.tensor([[3, 29, 0], [3, 3, 7]])
    rows = ops.embedding(tokens, packed, scale, 50, levels)
    assert torch.equal(rows, (digits.float() * scale[:, None])[tokens])
    assert torch.equal(rows, reference.embedding(tokens, packed, scale, 50, levels))
    assert ops.embedding(tokens[:, :0], packed, scale, 50, levels).shape == (2, 0, 50)


def mistakes():
    digits = torch.zeros(2, 30, dtype=torch.int8)
    return {
        "form 'dense' cannot hold 3 levels": lambda: ops.tile(ops.pack(digits, 3), 30, "dense", 3),
        "form 'nibble' cannot hold 256 levels": lambda: ops.tile(ops.pack(digits, 256), 30, "nibble", 256),
        "levels must be one of 3, 4, 5, 7, 9, 15, 256, not 8": lambda: ops.pack(digits, 8),
        "levels must be 3, 4, 5, 7, 9, 15 or 256, not 8": lambda: ops.tile(ops.pack(digits), 30, "nibble", 8),
        "packed must have size 6 in dimension 1, not 9": lambda: ops.tile(ops.pack(digits), 30, "nibble", 3),
    }


@pytest.mark.parametrize("message", mistakes())
def test_mistakes_name_the_argument(message):
    with pytest.raises(ValueError, match=message):
        mistakes()[message]()


def test_torch_library_contract():
    wide = ops.pack(digits_of(20, 30, 256), 256)
    torch.library.opcheck(torch.ops.quintet.tile.default, (wide, 30, "byte", 256))
    torch.library.opcheck(torch.ops.quintet.embedding.default, (torch.tensor([1, 2]), wide, torch.ones(20), 30, 256))


def test_the_fastest_form_holds_the_levels():
    for levels in reference.CODES:
        for weights in (1000, 10**9):
            assert levels in FORMS[ops.best_form(weights, levels)]
    assert ops.best_form(10**9, 3) == "nibble" and ops.best_form(1000, 5) == "nibble" and ops.best_form(1000, 256) == "byte"
