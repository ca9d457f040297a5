"""The document's layers: what they compute at five levels, and the gradients by which they learn."""

import copy

import pytest
import torch
import torch.nn.functional as F

from pipeline.apps.pentary import BatchNorm, Conv2D, Linear, MaxPool2D, PentaryLinear, PentaryModel, ReLU
from pipeline.apps.pentary import layers as made
from pipeline.errors import UserError
from pipeline.quantization import grid


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(3)


def original(layer) -> torch.Tensor:
    return layer.parametrizations.weight.original


def test_names():
    assert Linear is PentaryLinear and {Linear, Conv2D, ReLU, MaxPool2D, BatchNorm} == {
        getattr(made, f"Pentary{name}") for name in ("Linear", "Conv2D", "ReLU", "MaxPool2D", "BatchNorm")
    }


@pytest.mark.parametrize("layer", [Linear(12, 5), Conv2D(3, 5, 2)], ids=["linear", "conv2d"])
def test_weights_are_digits_times_steps_of_least_squared_error(layer):
    digits, scale = grid.quantize(original(layer).detach().flatten(1))
    assert torch.equal(layer.weight.flatten(1), digits * scale.float()[:, None])
    assert set(digits.unique().tolist()) <= {-2, -1, 0, 1, 2}


def test_backward_of_linear():
    """To the input through the digits; to the weights straight through where they are inside the range; to the bias as it is."""
    layer, x = Linear(6, 4), torch.randn(7, 6, requires_grad=True)
    with torch.no_grad():
        original(layer)[:, 0] *= 100
    coming = torch.randn(7, 4)
    layer(x).backward(coming)
    torch.testing.assert_close(x.grad, coming @ layer.weight.detach())
    step = layer.parametrizations.weight[0].step
    inside = original(layer).abs() < 2 * grid.stored(step.detach())[:, None]
    assert not inside[:, 0].any() and inside.any()
    torch.testing.assert_close(original(layer).grad, coming.T @ x.detach() * inside)
    torch.testing.assert_close(layer.bias.grad, coming.sum(0))
    assert step.grad.shape == (4,) and bool((step.grad != 0).all())


def test_backward_of_convolution():
    layer, x = Conv2D(2, 3, 3, stride=2, padding=1), torch.randn(2, 2, 7, 7, requires_grad=True)
    coming = torch.randn(2, 3, 4, 4)
    layer(x).backward(coming)
    kernels, inputs = layer.weight.detach().requires_grad_(), x.detach().requires_grad_()
    F.conv2d(inputs, kernels, layer.bias, 2, 1).backward(coming)
    torch.testing.assert_close(x.grad, inputs.grad)
    step = grid.stored(layer.parametrizations.weight[0].step.detach())
    inside = original(layer).abs() < 2 * step[:, None, None, None]
    torch.testing.assert_close(original(layer).grad, kernels.grad * inside)


def test_a_step_finds_a_better_scale():
    """Gradient descent on a step alone lowers the error of outputs that other weights made."""
    layer, wanted, x = Linear(16, 3, bias=False), torch.randn(3, 16) / 4, torch.randn(200, 16)
    with torch.no_grad():
        original(layer).copy_(wanted)
        layer.parametrizations.weight[0].step *= 2.5
    step = layer.parametrizations.weight[0].step
    losses = []
    for _ in range(60):
        loss = F.mse_loss(layer(x), x @ wanted.T)
        losses.append(float(loss.detach()))
        (slope,) = torch.autograd.grad(loss, step)
        with torch.no_grad():
            step -= 0.2 * slope
    assert losses[-1] < losses[0] / 3


def test_biases_at_five_levels():
    layer = Linear(3, 8, bias_levels=5)
    with torch.no_grad():
        layer.parametrizations.bias.original.copy_(torch.linspace(-0.03, 0.03, 8))
    step = float(layer.parametrizations.bias[0].step.detach())
    assert set((layer.bias / grid.stored(torch.tensor([step]))).round().int().tolist()) <= {-2, -1, 0, 1, 2}
    layer(torch.randn(2, 3)).sum().backward()
    assert layer.parametrizations.bias.original.grad.shape == (8,)
    with pytest.raises(ValueError, match="bias_levels must be None"):
        Linear(3, 8, bias_levels=4)


def test_float_and_five_levels_and_back():
    model = PentaryModel(6, 3, [5], seed=1)
    x, weights = torch.randn(4, 6), original(model.network.layers[0]).detach().clone()
    before = model(x)
    other = copy.deepcopy(model)
    model.to_float()
    assert not model.at_five_levels and torch.equal(model.network.layers[0].weight, weights)
    assert torch.equal(other(x), before), "a copy stays as it is"
    model.to_five_levels()
    assert torch.equal(model(x), before)


def test_packed_kernels_compute_the_model():
    layers = [
        {"type": "reshape", "shape": [1, 8, 8]},
        {"type": "conv2d", "in_channels": 1, "out_channels": 6, "kernel_size": 3, "padding": 1, "use_bias": False},
        {"type": "batchnorm", "num_features": 6},
        {"type": "relu"},
        {"type": "maxpool2d", "kernel_size": 2},
        {"type": "flatten"},
        {"type": "linear", "in_features": 96, "out_features": 4},
    ]
    model, x = PentaryModel(64, 4, layers=layers), torch.rand(9, 64)
    model.fold()
    model.to_five_levels()
    torch.testing.assert_close(model.deployed()(x), model.eval()(x).detach(), atol=1e-5, rtol=1e-5)
    rounded = model.deployed("int8")(x) - model(x)
    assert float(rounded.detach().norm() / model(x).detach().norm()) < 0.05


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((0, 2), "input_dim must be whole numbers of at least 1, not 0"),
        ((3, 2, [4, -1]), "hidden_dims must be whole numbers of at least 1, not -1"),
        ((3, 2.0), "output_dim must be whole numbers of at least 1, not 2.0"),
    ],
)
def test_sizes_that_cannot_be(arguments, says):
    with pytest.raises(UserError, match=says):
        PentaryModel(*arguments)


def test_layers_that_do_not_fit():
    with pytest.raises(UserError, match="layers cannot take 3 inputs"):
        PentaryModel(3, 2, layers=[{"type": "linear", "in_features": 4, "out_features": 2}])
    with pytest.raises(UserError, match=r"layers make \[5\], not the 2 outputs"):
        PentaryModel(3, 2, layers=[{"type": "linear", "in_features": 3, "out_features": 5}])
    with pytest.raises(ValueError, match=r"x must be \[B, 3\], not \[2, 4\]"):
        PentaryModel(3, 2)(torch.zeros(2, 4))
