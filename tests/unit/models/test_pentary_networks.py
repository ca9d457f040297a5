"""Feed-forward networks: graphs of layers, batch norms folded away, fusion of any subset of modalities."""

import pytest
import torch

from pipeline.models.pentary.fusion import METHODS, Fusion, MultimodalNetwork
from pipeline.models.pentary.layers import MAKERS, BatchNorm, TokenMean, initialize, make, mlp
from pipeline.models.pentary.network import Network, folded, perceptron

CONVOLUTIONS = [
    {"type": "conv2d", "in_channels": 1, "out_channels": 4, "kernel_size": 3, "padding": 1, "use_bias": False},
    {"type": "batchnorm", "num_features": 4},
    {"type": "relu"},
    {"type": "maxpool2d", "kernel_size": 2},
    {"type": "flatten"},
    {"type": "linear", "in_features": 64, "out_features": 6},
    {"type": "batchnorm", "num_features": 6},
]
TEXT = [{"type": "tokenmean", "num_embeddings": 9, "embedding_dim": 5}]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trained(network: Network) -> Network:
    """A network whose batch norms have seen something."""
    initialize(network, generator())
    for module in network.modules():
        if isinstance(module, BatchNorm):
            for tensor, low in ((module.weight, -1.0), (module.bias, -1.0), (module.running_mean, -1.0), (module.running_var, 0.1)):
                tensor.data.uniform_(low, 2.0, generator=generator(1))
    return network.eval()


def test_a_residual_graph_computes_what_its_names_say():
    layers = [
        {"type": "linear", "name": "a", "in_features": 3, "out_features": 3},
        {"type": "relu", "name": "b"},
        {"type": "add", "name": "c", "inputs": ["b", "input"]},
        {"type": "concat", "name": "d", "inputs": ["c", "a"], "axis": 0},
    ]
    network, x = Network(layers), torch.randn(2, 3, generator=generator())
    a = network.layers[0](x)
    assert torch.equal(network(x), torch.cat([a.relu() + x, a], 1))
    assert Network(network.description).description == network.description


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ({"type": "gelu"}, "layer 'x': layer type 'gelu' is none of linear, conv2d"),
        ({"type": "linear", "in_features": 3}, "layer 'x': a layer of type 'linear' needs 'out_features'"),
        ({"type": "relu", "inputs": ["later"]}, "layer 'x' takes 'later', which is no layer before it"),
        ({"type": "relu", "inputs": ["input", "input"]}, "layer 'x' of type 'relu' cannot take 2 inputs"),
    ],
)
def test_layers_that_cannot_be_are_named(layer, says):
    with pytest.raises(ValueError, match=says):
        Network([{**layer, "name": "x"}])


def test_folding_batch_norms_changes_nothing_but_the_layers():
    network, x = trained(Network(CONVOLUTIONS)), torch.randn(5, 1, 8, 8, generator=generator(2))
    small = folded(network)
    assert [layer["type"] for layer in small.description] == ["conv2d", "relu", "maxpool2d", "flatten", "linear"]
    torch.testing.assert_close(small(x), network(x), atol=1e-5, rtol=1e-5)


def test_a_norm_whose_input_others_read_is_kept():
    layers = [
        {"type": "linear", "name": "a", "in_features": 4, "out_features": 4},
        {"type": "batchnorm", "name": "n", "num_features": 4},
        {"type": "add", "name": "s", "inputs": ["n", "a"]},
    ]
    network, x = trained(Network(layers)), torch.randn(5, 4, generator=generator(2))
    assert [layer["type"] for layer in folded(network).description] == ["linear", "batchnorm", "add"]
    assert torch.equal(folded(network)(x), network(x))


def test_every_type_of_layer_has_a_right_gradient():
    """Against finite differences, in float64; pooling away from ties."""
    images = {"conv2d", "maxpool2d", "avgpool2d", "globalavgpool2d", "flatten"}
    sizes = {"in_features": 4, "out_features": 3, "in_channels": 2, "out_channels": 3, "kernel_size": 2, "num_features": 4}
    sizes |= {"axis": 0, "shape": [2, 2], "start": 1, "stop": 3, "mean": 0.5, "deviation": 2.0}
    for kind in set(MAKERS) - {"tokenmean"}:
        count = 2 if kind in ("add", "multiply", "concat") else 1
        shape = (3, 2, 4, 4) if kind in images else (3, 4)
        values = [torch.randperm(torch.Size(shape).numel(), generator=generator(i)).view(shape) / 10 - 0.55 for i in range(count)]
        inputs = [value.double().requires_grad_() for value in values]
        assert torch.autograd.gradcheck(make({"type": kind, **sizes}).double(), inputs), kind


def test_padding_is_no_word():
    module = TokenMean(5, 3)
    mean = module(torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(mean[0], module.embedding.weight[1:3].mean(0))
    assert torch.equal(mean[1], torch.zeros(3))


@pytest.mark.parametrize("method", METHODS)
def test_absent_modalities_have_no_influence(method):
    fusion = Fusion({"text": 3, "image": 5, "audio": 2}, method, common=4)
    fusion.initialize(generator())
    features = [torch.randn(2, width, generator=generator(width)) for width in (3, 5, 2)]
    presence = torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 1.0]])
    fused = fusion(features, presence)
    assert fused.shape == (2, fusion.width)
    assert torch.equal(fusion([features[0], features[1] + 100, features[2]], presence), fused)
    assert not torch.allclose(fusion([features[0], features[1], features[2] + 1], presence), fused)


def test_add_and_multiply_are_of_the_projections():
    features, both = [torch.randn(2, width, generator=generator(width)) for width in (3, 5)], torch.ones(2, 2)
    for method, combine in (("add", torch.add), ("multiply", torch.mul)):
        fusion = Fusion({"text": 3, "image": 5}, method, common=4)
        one, two = (project(x) for project, x in zip(fusion.projections, features, strict=True))
        torch.testing.assert_close(fusion(features, both), combine(one, two))


@pytest.mark.parametrize("method", METHODS)
def test_a_multimodal_network_reads_features_side_by_side(method):
    modalities = {"image": {"shape": [1, 8, 8], "layers": CONVOLUTIONS}, "text": {"shape": [7], "layers": TEXT}}
    config = {"modalities": modalities, "fusion": method, "common": 4, "hidden_dims": [8], "output_dim": 3}
    network = MultimodalNetwork(config)
    network.initialize(generator())
    assert network.features == 64 + 7 + 2
    tokens = torch.randint(0, 9, (4, 7), generator=generator(3)).float()
    x = torch.cat([torch.randn(4, 64, generator=generator(4)), tokens, torch.tensor([[1.0, 1.0], [1, 0], [0, 1], [1, 1]])], 1)
    logits = network.eval()(x)
    assert logits.shape == (4, 3) and bool(logits.isfinite().all())
    torch.testing.assert_close(network.folded()(x), logits, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match=r"x must be \[B, 73\], not \[4, 72\]"):
        network(x[:, 1:])


def test_an_encoder_that_does_not_fit_names_its_modality():
    modalities = {"image": {"shape": [3, 8, 8], "layers": CONVOLUTIONS}}
    with pytest.raises(ValueError, match="modality 'image': its layers cannot take"):
        MultimodalNetwork({"modalities": modalities, "fusion": "concat", "hidden_dims": [], "output_dim": 3})


def test_an_mlp_starts_the_same_from_the_same_seed():
    one, two, three = (perceptron(6, [5], 2, seed) for seed in (0, 0, 1))
    assert torch.equal(one.layers[0].weight, two.layers[0].weight) and not torch.equal(one.layers[0].weight, three.layers[0].weight)
    assert [layer["type"] for layer in mlp(6, [5], 2)] == ["linear", "relu", "linear"]
    assert one.quantizable().keys() == {"layers.0.weight", "layers.2.weight"}


def test_parts_of_the_input_are_normalized():
    x = torch.randn(2, 5, generator=generator())
    network = Network([{"type": "slice", "start": 1, "stop": 3}, {"type": "normalize", "mean": 2.0, "deviation": -4.0}])
    assert torch.equal(network(x), (x[:, 1:3] - 2) / -4)
    with pytest.raises(ValueError, match="a slice to 3 of 2 numbers"):
        network(x[:, :2])


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        ({"type": "slice", "start": 3, "stop": 3}, "a slice from 3 to 3 has nothing in it"),
        ({"type": "normalize", "mean": 0.0, "deviation": 0.0}, "the deviation not 0"),
    ],
)
def test_layers_that_cannot_be_are_refused(layer: dict, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        make(layer)
