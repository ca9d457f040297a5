import pytest
import torch

from pipeline import ops
from pipeline.quantization import budget
from tests.unit.quantization.small_model import float_model


def spent(levels, shapes):
    total = sum(8 * (ops.bytes_in_row(rows * columns, levels[name]) + rows) for name, (rows, columns) in shapes.items())
    return total / sum(rows * columns for rows, columns in shapes.values())


def test_bits_go_to_what_they_are_worth_most():
    shapes = {"precious": (64, 64), "cheap": (64, 64)}
    costs = {name: {levels: share / levels**2 for levels in budget.WIDTHS} for name, share in {"precious": 100.0, "cheap": 1.0}.items()}
    assert budget.choose(costs, shapes, 3.0) == {"precious": 15, "cheap": 3}
    assert budget.choose(costs, shapes, 8.0) == {"precious": 15, "cheap": 15}
    for bits in (1.8, 2.0, 2.4, 2.8, 3.6):
        assert spent(budget.choose(costs, shapes, bits), shapes) <= bits
    with pytest.raises(ValueError, match=r"bits = 1\.6 is less than 3 levels take"):
        budget.choose(costs, shapes, 1.6)


def test_a_width_that_costs_more_is_not_bought():
    costs = {"odd": {3: 1.0, 4: 2.0, 5: 0.5, 7: 0.6, 9: 0.5, 15: 0.5}}
    assert budget.choose(costs, {"odd": (64, 64)}, 8.0) == {"odd": 5}


def test_costs_are_of_one_matrix_alone_and_fall_with_the_levels():
    model = float_model()
    before = {name: parameter.clone() for name, parameter in model.quantizable().items()}
    tokens = torch.randint(0, 11, (8, 16), generator=torch.Generator().manual_seed(0))
    costs = budget.sensitivity(model, [tokens])
    assert costs.keys() == before.keys()
    assert all(torch.equal(model.get_parameter(name), weight) for name, weight in before.items())
    assert all(cost[3] > cost[15] > 0 for cost in costs.values())
    halves = budget.sensitivity(model, [tokens[:4], tokens[4:]])
    assert halves["model.embed_tokens.weight"][5] == pytest.approx(costs["model.embed_tokens.weight"][5], rel=1e-3)
