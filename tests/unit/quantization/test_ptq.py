"""Quantization without training: what a model becomes, which inputs count, and how good a trained layer gets."""

import copy
from typing import Any

import psutil
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import quantization
from pipeline.models.base import Model
from pipeline.quantization import ptq
from pipeline.quantization.ptq import calibration
from pipeline.quantization.ptq.threads import little_memory
from pipeline.schema.quantization import Ptq
from tests.unit.quantization.small_model import float_model


def tokens(batches, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 11, (16, 16), generator=generator) for _ in range(batches)]


def reduced(module: Model, **switches: Any):
    """The model with the weights that the packed matrices stand for, those matrices, and the ratios of weights and outputs."""
    module = copy.deepcopy(module)
    levels = dict.fromkeys(module.quantizable(), 5)
    return module, *ptq.quantize(module, tokens(4), tokens(1, seed=1), levels, Ptq(**switches))


def distance(module: Model, reference: Model) -> float:
    """Mean squared difference of the logits on other tokens."""
    with torch.inference_mode():
        return float(sum((module(batch)[0] - reference(batch)[0]).square().mean() for batch in tokens(2, seed=2)))


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": False}, {"num_key_value_heads": 2, "hidden_size": 24}])
def test_other_axes_compute_the_same(changes):
    model = float_model(**changes)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.copy_(torch.linspace(0.5, 2, len(parameter)))
    rotated = ptq.rotate(model, seed=3)
    with torch.inference_mode():
        torch.testing.assert_close(rotated(tokens(1)[0])[0], model(tokens(1)[0])[0], rtol=1e-4, atol=1e-4)
    before, after = model.state_dict(), rotated.state_dict()
    kept = {name for name in before if torch.equal(before[name], after[name])}
    assert kept == {f"model.layers.{i}.self_attn.{x}_norm.weight" for i in (0, 1) for x in "qk"}
    assert not rotated.config["tie_word_embeddings"] and rotated.lm_head is not None
    assert torch.equal(ptq.rotate(model, seed=3).lm_head.weight, rotated.lm_head.weight)
    assert not torch.equal(ptq.rotate(model, seed=4).lm_head.weight, rotated.lm_head.weight)


def test_a_rotation_is_orthogonal_at_any_size():
    for size in (1, 2, 12, 20, 64):
        matrix = ptq.rotation.hadamard(size, torch.Generator().manual_seed(0))
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(size, dtype=torch.float64))
        assert (matrix != 0).sum(1).unique().tolist() == [size & -size]


@pytest.mark.parametrize("tied", [True, False])
def test_every_matrix_is_packed_and_the_model_computes_with_it(tied):
    model = float_model(tie_word_embeddings=tied)
    module, packed, _, ratios = reduced(model)
    assert packed.keys() == model.quantizable().keys()
    assert all(torch.equal(module.quantizable()[name], matrix.dense()) for name, matrix in packed.items())
    assert ratios.keys() == packed.keys() - {"model.embed_tokens.weight"}
    assert all(4 < ratio < 40 for ratio in ratios.values())
    again = reduced(model)[1]
    assert all(torch.equal(packed[name].codes, again[name].codes) for name in packed)


def test_it_is_nearer_to_the_float_model_than_least_squared_error():
    model = float_model()
    plain = copy.deepcopy(model)
    with torch.no_grad():
        for name, matrix in quantization.quantize(model.quantizable(), "here").items():
            plain.get_parameter(name).copy_(matrix.dense())
    assert distance(reduced(model)[0], model) < 0.7 * distance(plain, model)


def test_later_matrices_make_up_for_earlier_ones():
    model = float_model()
    matched, unmatched = (reduced(model, match=match)[3]["model.layers.1.mlp.down_proj.weight"] for match in (True, False))
    assert matched > unmatched


@pytest.mark.parametrize("layers", [4, 6, 8])
def test_a_stream_is_kept_nearer_by_what_adds_to_it(layers):
    model = float_model(num_hidden_layers=layers)  # without restarts, whose luck is as large as that in models as small as these
    with_it, without = (reduced(model, restarts=False, outputs=False, damping=0.01, residual=residual)[0] for residual in (True, False))
    assert distance(with_it, model) < distance(without, model)


def test_a_model_in_halves_computes_the_same():
    model = float_model()
    x, *rest = model.enter(tokens(1)[0])
    with torch.inference_mode():
        for block in model.blocks():
            x = block(x, *rest)
        assert torch.equal(model.tail(x), model(tokens(1)[0])[0])


def test_numbers_beyond_half_precision_are_held_whole():
    large, small = torch.tensor([1e5, 1.0]), torch.tensor([0.1, -3.0])
    assert torch.equal(calibration.given(calibration.held(large))[0], large)
    assert calibration.held(small, "rest")[0].dtype == torch.float16 and calibration.held(small, "rest")[1] == "rest"


class Plain(Model):
    """A family without blocks: an embedding, and an MLP on each token alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.first, self.second = nn.Embedding(500, 64), nn.Linear(64, width), nn.Linear(width, width)
        self.last, self.unused = nn.Linear(width, 10), None

    def forward(self, tokens_BT: Tensor, state: None = None) -> tuple[Tensor, None]:
        return self.last(F.relu(self.second(F.relu(self.first(self.embed(tokens_BT)))))), None


def trained(width: int, steps: int) -> Plain:
    """A model that has learnt what a random network of another shape says about each token."""
    torch.manual_seed(0)
    module, teacher = Plain(width), nn.Sequential(nn.Embedding(500, 16), nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(module.parameters(), 1e-3)
    for _ in range(steps):
        given = torch.randint(0, 500, (1, 256))
        F.mse_loss(module(given)[0], teacher(given).detach()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return module


def test_a_trained_layer_of_512_by_512_keeps_12_decibels_on_held_out_inputs():
    module = trained(512, 150)
    levels = dict.fromkeys(module.quantizable(), 5) | {"embed.weight": 256}
    batches, held_out = torch.arange(400).split(100), torch.arange(400, 500)
    _, _, ratios = ptq.quantize(module, [batch[None] for batch in batches], [held_out[None]], levels, Ptq())
    assert ratios["second.weight"] >= 12


def test_a_map_that_no_input_reaches_is_named():
    module = trained(8, 1)
    module.unused = nn.Linear(3, 3)
    with pytest.raises(ValueError, match=r"no input reaches \['unused.weight'\]"):
        ptq.quantize(module, [torch.arange(9)[None]], [torch.arange(9)[None]], dict.fromkeys(module.quantizable(), 5), Ptq())


class Images(Model):
    """A convolution, and classes from one linear map."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 5)

    def forward(self, x_NCHW: Tensor, state: None = None) -> tuple[Tensor, None]:
        return self.last(F.relu(self.first(x_NCHW)).flatten(1)), None


def test_a_convolution_takes_the_digits_of_least_squared_error():
    module = Images()
    expected = quantization.quantize(module.quantizable(), "here")["first.weight"]
    images = list(torch.randn(3, 20, 1, 8, 8, generator=torch.Generator().manual_seed(1)))
    packed, _, ratios = ptq.quantize(module, images[:2], images[2:], dict.fromkeys(module.quantizable(), 5), Ptq())
    assert torch.equal(packed["first.weight"].codes, expected.codes) and torch.equal(module.first.weight.flatten(1), expected.dense())
    assert ratios.keys() == {"last.weight"} and ratios["last.weight"] > 8


def test_memory_of_large_arrays_goes_back_at_once():
    process = psutil.Process()
    with little_memory():
        arrays = [torch.ones(1 << 19) for _ in range(100)]  # 2 MiB each
        full = process.memory_info().rss
        del arrays[:-1]
        assert full - process.memory_info().rss > 150 << 20
