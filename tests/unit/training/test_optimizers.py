"""Optimizers: which weights go where, and Muon's update against the decomposition that defines it."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pipeline.training import optimizers
from tests.unit.models import tiny
from tests.unit.training.toy import settings


def matrices(count: int, rows: int, columns: int, spread: float) -> torch.Tensor:
    """Matrices whose singular values lie between `spread` and 1, times 30."""
    draw = torch.Generator().manual_seed(4)
    u = torch.linalg.qr(torch.randn(count, rows, rows, generator=draw)).Q
    v = torch.linalg.qr(torch.randn(count, columns, rows, generator=draw)).Q
    return 30 * u @ torch.diag_embed(torch.linspace(spread, 1.0, rows).expand(count, -1)) @ v.mT


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 20), (2, 32, 33)])
def test_orthogonalisation_keeps_directions_and_levels_singular_values(shape: tuple[int, int, int]) -> None:
    x = matrices(*shape, spread=0.1)
    result = optimizers.orthogonalize(x)
    u, _, v = torch.linalg.svd(x, full_matrices=False)
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.85
    assert values.max() < 1.15
    torch.testing.assert_close(torch.diag_embed((u.mT @ result @ v.mT).diagonal(dim1=1, dim2=2)), u.mT @ result @ v.mT, atol=1e-3, rtol=0)


def test_each_matrix_of_a_batch_is_orthogonalised_alone() -> None:
    x = matrices(3, 8, 20, spread=0.1) * torch.tensor([1.0, 1e-3, 1e3])[:, None, None]
    torch.testing.assert_close(optimizers.orthogonalize(x)[1], optimizers.orthogonalize(x[1:2])[0], atol=1e-5, rtol=0)


def test_a_gradient_of_zero_moves_nothing() -> None:
    assert not optimizers.orthogonalize(torch.zeros(2, 4, 6)).any()


def test_muon_steps_along_the_orthogonalised_momentum() -> None:
    """Two steps against the definition, on a tall, a wide and a square matrix with decay."""
    draw = torch.Generator().manual_seed(5)
    parameters = [nn.Parameter(torch.randn(shape, generator=draw)) for shape in ((20, 8), (8, 20), (8, 8))]
    expected = [p.detach().clone() for p in parameters]
    averages = [torch.zeros_like(p) for p in parameters]
    muon = optimizers.Muon(parameters, lr=0.1, momentum=0.9, weight_decay=0.5)
    for _ in range(2):
        for i, parameter in enumerate(parameters):
            parameter.grad = torch.randn(parameter.shape, generator=draw)
            averages[i] = 0.9 * averages[i] + 0.1 * parameter.grad
            nesterov = 0.1 * parameter.grad + 0.9 * averages[i]
            tall = parameter.shape[0] > parameter.shape[1]
            update = optimizers.orthogonalize((nesterov.mT if tall else nesterov)[None])[0]
            scale = max(1.0, parameter.shape[0] / parameter.shape[1]) ** 0.5
            expected[i] = expected[i] * (1 - 0.1 * 0.5) - 0.1 * scale * (update.mT if tall else update)
        muon.step()
    for parameter, value in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), value, atol=1e-5, rtol=0)


def decays(built: list[torch.optim.Optimizer]) -> dict[int, float]:
    return {id(p): group["weight_decay"] for optimizer in built for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_weight_is_optimised_once_and_only_matrices_decay(name: str) -> None:
    module = tiny.model(tie_word_embeddings=False)
    built = optimizers.build(module, settings(optimizer=name, weight_decay=0.3))
    listed = [id(p) for optimizer in built for group in optimizer.param_groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in module.parameters())
    assert all(decays(built)[id(p)] == (0.3 if p.dim() == 2 else 0.0) for p in module.parameters())


def test_muon_takes_the_hidden_matrices_and_adamw_the_rest() -> None:
    module = tiny.model(tie_word_embeddings=False)
    adamw, muon = optimizers.build(module, settings(optimizer="muon"))
    taken = {id(p) for group in muon.param_groups for p in group["params"]}
    assert taken == {id(p) for p in module.hidden_matrices().values()}
    assert all(group["fused"] for group in adamw.param_groups)


def test_a_rate_is_set_from_what_each_group_was_built_with() -> None:
    built = optimizers.build(tiny.model(), settings(optimizer="muon", learning_rate=0.004, muon_learning_rate=0.02))
    for share in (0.5, 0.25):
        optimizers.set_rate(built, share)
        assert {group["lr"] for optimizer in built for group in optimizer.param_groups} == {0.004 * share, 0.02 * share}


def test_muon_takes_no_closure() -> None:
    muon = optimizers.Muon([nn.Parameter(torch.zeros(2, 2))], lr=0.1)
    with pytest.raises(ValueError, match="closure"):
        muon.step(lambda: 0.0)


def test_settings_without_hidden_matrices_mean_adamw_alone() -> None:
    plain = SimpleNamespace(optimizer="adamw", weight_decay=0.1, learning_rate=0.1, betas=(0.9, 0.99))
    assert len(optimizers.build(tiny.model(), plain)) == 1
