"""PentaryTrainer: it learns, the same from the same seed, goes on where it was stopped, and says what is wrong in one sentence."""

import numpy as np
import pytest
import torch

from pipeline.apps.pentary import LossFunction, PentaryModel, PentaryTrainer
from pipeline.apps.pentary.learner import OPTIMIZERS, Learner
from pipeline.errors import UserError

CONVOLUTIONS = [
    {"type": "reshape", "shape": [1, 4, 4]},
    {"type": "conv2d", "in_channels": 1, "out_channels": 4, "kernel_size": 3, "padding": 1, "use_bias": False},
    {"type": "batchnorm", "num_features": 4},
    {"type": "relu"},
    {"type": "flatten"},
    {"type": "linear", "in_features": 64, "out_features": 3},
]


def clouds(count: int = 240) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(0)
    y = np.arange(count) % 3
    return (np.eye(3, 16)[y] * 4 + chance.standard_normal((count, 16))).astype(np.float32), y


def train(epochs: int = 4, model: PentaryModel | None = None, **options) -> PentaryTrainer:
    calls = {name: options.pop(name) for name in ("checkpoints",) if name in options}
    trainer = PentaryTrainer(model or PentaryModel(16, 3, [8]), **{"learning_rate": 0.01, **options})
    trainer.train(clouds(), clouds(90), epochs, 8, verbose=False, **calls)
    return trainer


def weights(trainer: PentaryTrainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_learns_and_repeats():
    one, two, three = train(), train(), train(seed=1)
    assert one.history["val_acc"][-1] > 0.9 and one.history["levels"] == ["float", "float", "5", "5"]
    assert same(weights(one), weights(two)) and one.history == two.history
    assert not same(weights(one), weights(three))


@pytest.mark.parametrize(("stop", "layers"), [(2, None), (5, None), (1, CONVOLUTIONS), (4, CONVOLUTIONS)])
def test_stopped_anywhere_it_ends_with_the_same_weights(tmp_path, monkeypatch, stop, layers):
    def model():
        return PentaryModel(16, 3, [8], layers=layers)

    whole = train(6, model(), distillation=0.5)
    learn, left = Learner.epoch, [stop]

    def dying(self, *arguments):
        if left[0] == 0:
            raise MemoryError
        left[0] -= 1
        return learn(self, *arguments)

    monkeypatch.setattr(Learner, "epoch", dying)
    with pytest.raises(MemoryError):
        train(6, model(), distillation=0.5, checkpoints=tmp_path)
    monkeypatch.setattr(Learner, "epoch", learn)
    torch.manual_seed(99)
    again = train(6, model(), distillation=0.5, checkpoints=tmp_path)
    assert again.history == whole.history and same(weights(again), weights(whole))
    assert not list(tmp_path.glob("*/*.safetensors")), "a training that is done is forgotten"


def test_another_training_does_not_go_on_from_it(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.apps.pentary.resume.Checkpoints.remove", lambda self: None)
    train(2, checkpoints=tmp_path)
    assert same(weights(train(2, checkpoints=tmp_path, seed=1)), weights(train(2, seed=1)))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizer_is_the_one_that_was_asked_for(name):
    """The first step in float by the optimizer's own rule."""
    trainer = PentaryTrainer(PentaryModel(16, 3, []), optimizer=name, learning_rate=0.003)
    trainer.model.to_float()
    trainer.learner.restart()
    assert type(trainer.learner.optimizer).__name__ == {"momentum": "SGD", "rmsprop": "RMSprop"}.get(
        name, name.upper() if name == "sgd" else {"adam": "Adam", "adamw": "AdamW"}.get(name)
    )
    layer = trainer.model.network.layers[0]
    before = layer.weight.detach().clone()
    trainer.train_step(*clouds(30))
    moved, gradient = layer.weight.detach() - before, layer.weight.grad
    if name in ("sgd", "momentum"):
        torch.testing.assert_close(moved, -0.003 * (1.9 if name == "momentum" else 1.0) * gradient, atol=1e-7, rtol=1e-4)
    else:
        size = 0.03 if name == "rmsprop" else 0.003
        assert float((moved.abs() - size).abs().median()) < 0.1 * size and bool((moved * gradient <= 0).all())


def test_folding_after_the_float_epochs_and_learning_on():
    trainer = train(6, PentaryModel(16, 3, layers=CONVOLUTIONS))
    assert "batchnorm" not in [layer["type"] for layer in trainer.model.network.description]
    assert trainer.history["val_acc"][-1] > 0.9
    again = trainer.train(clouds(), clouds(90), 1, verbose=False)
    assert again["levels"][-1] == "5" and len(again["val_acc"]) == 7


def test_losses():
    outputs, rows = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
    cross = LossFunction.cross_entropy_loss(outputs, rows)
    torch.testing.assert_close(cross, (torch.tensor([-2.0]).exp().log1p() + torch.tensor([-1.0]).exp().log1p())[0] / 2)
    torch.testing.assert_close(LossFunction.cross_entropy_loss(outputs, torch.eye(2)), cross)
    torch.testing.assert_close(LossFunction.mse_loss(outputs, rows), torch.tensor(0.25))
    torch.testing.assert_close(LossFunction.mse_loss(outputs, torch.tensor([[2.0, 0], [0, 3]])), torch.tensor(1.0))
    assert train(6, loss_fn=LossFunction.mse_loss).history["val_acc"][-1] > 0.6


X, Y = clouds(30)
MISTAKES = {
    "an optimizer": (lambda: PentaryTrainer(PentaryModel(16, 3), optimizer="lion"), "optimizer 'lion' is none of sgd, momentum, adam"),
    "a share": (lambda: PentaryTrainer(PentaryModel(16, 3), distillation=2), "distillation = 2 must be from 0 to 1"),
    "no epochs": (lambda: train(0), "epochs = 0 and batch_size = 8 must be at least 1"),
    "a width": (lambda: train(model=PentaryModel(15, 3)), r"the samples are \[240, 16\], but the model takes \[N, 15\]"),
    "a class": (lambda: train(model=PentaryModel(16, 2)), "a label is 2, but the model has the classes 0 to 1"),
    "labels too few": (lambda: train().validate(X, Y[:-1]), r"there are 30 samples, and labels \[29\]"),
    "labels that are no numbers": (lambda: train().validate(X, Y.astype(float)), r"labels are float64 \[30\]: give whole numbers"),
    "no samples": (lambda: train().validate(X[:0], Y[:0]), "at least one"),
    "a rate": (lambda: train(learning_rate=1e30, optimizer="sgd"), "the loss is (nan|inf).*lower learning_rate"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_sentence(mistake):
    call, says = MISTAKES[mistake]
    with pytest.raises(UserError, match=says):
        call()


def test_one_hot_rows_and_arrays():
    trainer = PentaryTrainer(PentaryModel(16, 3, [8]), learning_rate=0.02)
    x, y = clouds()
    trainer.train((x, np.eye(3)[y]), epochs=6, batch_size=8, verbose=False)
    assert trainer.history["val_acc"] == [] and trainer.validate(x, np.eye(3)[y])[1] > 0.8
    assert trainer.model.predict(x).shape == (240, 3)
