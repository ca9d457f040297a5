"""Convolutions at few levels: learned steps on their kernels, and packed kernels that compute the same."""

import pytest
import torch
from torch import nn

from pipeline import quantization
from pipeline.models.pentary.layers import initialize
from pipeline.models.pentary.network import Network
from pipeline.quantization import grid, lsq
from pipeline.quantization.modules import PackedConv2d, exchange

LAYERS = [
    {"type": "conv2d", "in_channels": 2, "out_channels": 5, "kernel_size": [3, 2], "stride": [2, 1], "padding": [1, 0], "dilation": [1, 2]},
    {"type": "relu"},
    {"type": "flatten"},
    {"type": "linear", "in_features": 5 * 4 * 6, "out_features": 3, "use_bias": False},
]


def network() -> Network:
    made = Network(LAYERS)
    initialize(made, torch.Generator().manual_seed(0))
    return made.eval()


def images(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 2, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("activations", ["float", "int8"])
def test_packed_kernels_compute_what_was_trained(activations):
    learning, packed = network(), network()
    lsq.attach(learning, quantization.quantize(learning.quantizable(), "here"), 2.0, activations)
    matrices = lsq.packed(learning)
    exchange(packed, {parameter: matrices[name] for name, parameter in packed.quantizable().items()}, activations)
    assert isinstance(packed.layers[0], PackedConv2d) and matrices["layers.0.weight"].columns == 2 * 3 * 2
    torch.testing.assert_close(packed(images()), learning(images()), atol=1e-5, rtol=1e-5)


def test_kernels_start_at_least_squared_error_and_learn():
    module = network()
    kernels = module.layers[0].weight.detach().clone()
    lsq.attach(module, quantization.quantize(module.quantizable(), "here"), 2.0)
    digits, scale = grid.quantize(kernels.flatten(1))
    assert torch.equal(module.layers[0].weight, (digits * scale.float()[:, None]).view_as(kernels))
    module(images()).square().sum().backward()
    parts = module.layers[0].parametrizations.weight
    assert parts.original.grad.shape == kernels.shape and parts[0].step.grad.shape == (5,)
    assert bool((parts.original.grad != 0).any()) and bool((parts[0].step.grad != 0).all())


def test_frozen_kernels_keep_their_digits():
    module = network()
    lsq.attach(module, quantization.quantize(module.quantizable(), "here"), 2.0)
    before = module(images())
    lsq.freeze(module)
    assert torch.equal(module(images()), before)
    assert {name for name, p in module.named_parameters() if p.requires_grad and name.startswith("layers.0")} == {
        "layers.0.bias",
        "layers.0.parametrizations.weight.0.step",
    }


def test_a_convolution_that_the_kernels_cannot_do_is_refused():
    for options in ({"groups": 2}, {"padding": "same"}, {"padding_mode": "reflect", "padding": 1}):
        module = nn.Sequential(nn.Conv2d(2, 4, 3, **options))
        weight = module[0].weight
        with pytest.raises(ValueError, match="cannot be packed"):
            exchange(module, {weight: quantization.quantize({"w": weight}, "here")["w"]})
