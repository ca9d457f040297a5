"""What RealNet's document lists: each initialiser, activation, compiled network and optimizer."""

import sys
import types

import pytest
import torch
from torch import nn

from pipeline.apps import realnet
from pipeline.apps.realnet import RealNet, RealNetTrainer
from pipeline.apps.realnet import trainer as trainers
from pipeline.models.realnet.weights import INITIALISERS
from pipeline.ops.reference_recurrent import ACTIVATIONS


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(6)


@pytest.mark.parametrize("name", INITIALISERS)
def test_every_initialiser_trains(name: str):
    model = RealNet(40, range(4), [39], weight_init=name, bias_init=0.1)
    trainer = RealNetTrainer(model)
    x, y = torch.randn(16, 4), torch.randn(16, 1)
    losses = [trainer.train_batch(x, y, 4) for _ in range(30)]
    assert losses[-1] < losses[0] and trainer.skipped == 0


def test_resonant_is_at_the_edge():
    radius = torch.linalg.eigvals(RealNet(200, [0], [1], weight_init="resonant").W.detach()).abs().max()
    assert 0.9 < radius < 1.15


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_trains(name: str):
    trainer = RealNetTrainer(RealNet(20, range(4), [19], activation=name))
    x, y = torch.randn(16, 4), torch.randn(16, 1)
    losses = [trainer.train_batch(x, y, 4) for _ in range(40)]
    assert losses[-1] < losses[0]


def test_a_long_silence_needs_a_bias_and_the_trainer_says_so(capsys):
    """At rest the slope of the norm is 1 / sqrt(epsilon), so that 40 silent steps overflow."""
    x, y = torch.zeros(4, 40, 2), torch.ones(4, 1)
    x[:, -1] = 1
    at_rest, awake = (RealNetTrainer(RealNet(8, [0, 1], [7], bias_init=bias), synaptic_noise=0.0) for bias in (0.0, 0.1))
    for trainer in (at_rest, awake):
        for _ in range(3):
            trainer.train_batch(x, y, 40)
    assert at_rest.skipped == 3 and awake.skipped == 0
    assert capsys.readouterr().err.count("a gradient is not finite") == 1
    with pytest.raises(ValueError, match="bias_init must be a finite number of at least 0, not -1"):
        RealNet(8, [0, 1], [7], bias_init=-1)


@pytest.mark.parametrize("wrapped", [False, True], ids=["in place", "torch.compile"])
def test_a_compiled_network_trains_grows_and_is_kept(wrapped: bool, tmp_path):
    model = RealNet(8, [0, 1], [7])
    compiled = torch.compile(model, backend="eager") if wrapped else model.compile(backend="eager")
    trainer = RealNetTrainer(compiled)
    x, y = torch.randn(8, 2), torch.randn(8, 1)
    trainer.train_batch(x, y, 4)
    before = trainer.predict(x, 4)
    trainer.expand(2, verbose=False)
    assert torch.allclose(trainer.predict(x, 4), before, atol=1e-6) and model.num_neurons == 10
    losses = [trainer.train_batch(x, y, 4) for _ in range(30)]
    assert losses[-1] < losses[0]
    realnet.save_checkpoint(compiled, trainer.optimizer, 1, 0.5, tmp_path / "net")
    assert torch.equal(realnet.load(tmp_path / "net").W, model.W)
    other = torch.compile(RealNet(10, [0, 1], [7]), backend="eager")
    realnet.load_checkpoint(other, None, tmp_path / "net")
    assert torch.equal(other.W, model.W)
    smaller = torch.compile(RealNet(5, [0, 1], [4]), backend="eager")
    assert realnet.transplant_weights(smaller, tmp_path / "net", verbose=False) > 25
    assert torch.equal(smaller.W[0, 4], model.W[0, 7])


class Eight(torch.optim.AdamW):
    """Stands for bitsandbytes' optimizer."""


@pytest.fixture
def on_a_gpu(monkeypatch) -> nn.Module:
    """A network that says it is on a GPU, and bitsandbytes installed."""
    package = types.ModuleType("bitsandbytes")
    package.optim = types.ModuleType("bitsandbytes.optim")
    package.optim.AdamW8bit = Eight
    monkeypatch.setitem(sys.modules, "bitsandbytes", package)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", package.optim)
    monkeypatch.delenv("NO_BNB", raising=False)
    monkeypatch.setattr(RealNet, "device", torch.device("cuda:0"))
    return RealNet(4, [0], [3])


def test_eight_bits_on_a_gpu_where_bitsandbytes_is(on_a_gpu, monkeypatch):
    trainer = RealNetTrainer(on_a_gpu, lr=0.02, device="cuda")
    assert type(trainer.optimizer) is Eight and trainer.optimizer.param_groups[0]["lr"] == 0.02 == trainer.initial_lr
    monkeypatch.setenv("NO_BNB", "1")
    assert type(trainers.default_optimizer(on_a_gpu, 0.02)) is torch.optim.AdamW


def test_a_missing_bitsandbytes_is_said_if_asked(on_a_gpu, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    assert type(trainers.default_optimizer(on_a_gpu, 0.02)) is torch.optim.AdamW and not capsys.readouterr().err
    monkeypatch.setenv("VERBOSE_BNB", "1")
    trainers.default_optimizer(on_a_gpu, 0.02)
    assert "bitsandbytes cannot be used" in capsys.readouterr().err


def test_on_the_cpu_the_optimizer_is_torchs():
    assert type(RealNetTrainer(RealNet(4, [0], [3])).optimizer) is torch.optim.AdamW
