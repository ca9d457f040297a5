"""RealNet's trainer: the way without autograd is the way with it, and long sequences need little memory."""

import pytest
import torch
from torch import Tensor, nn

from pipeline.apps.realnet import RealNet, RealNetTrainer
from pipeline.models.realnet import direct


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(7)


def twins(**options) -> tuple[RealNetTrainer, RealNetTrainer]:
    """A trainer that goes without autograd, and its twin, which may not, since a hook listens."""
    trainers = []
    for _ in range(2):
        torch.manual_seed(3)
        trainers.append(RealNetTrainer(RealNet(9, [4, 1], [7, 1, 8], pulse_mode=options.pop("pulse", True)), **options))
    trainers[1].model.register_forward_hook(lambda *_: None)
    assert direct.possible(trainers[0].model, torch.ones(1, 2)) and not direct.possible(trainers[1].model, torch.ones(1, 2))
    return trainers[0], trainers[1]


def thirds(output: Tensor) -> Tensor:
    return output.flatten(0, -2) * 3


BATCHES = {
    "a pulse": (torch.randn(6, 2), torch.randn(6, 3), {}),
    "tokens": (torch.tensor([[0, 1, -1], [1, 1, 0]]), torch.randn(2, 3), {}),
    "every step": (torch.randn(6, 4, 2), torch.randn(6, 4, 3), {"full_sequence": True}),
    "a mask": (torch.randn(6, 4, 2), torch.randn(6, 4, 3), {"full_sequence": True, "mask": torch.rand(6, 4, 3)}),
    "windows": (torch.randn(6, 4, 2), torch.randn(6, 4, 3), {"full_sequence": True, "tbptt_steps": 6}),
    "classes": (torch.randn(6, 4, 2), torch.randint(0, 3, (24,)), {"full_sequence": True, "output_transform": thirds}),
}


@pytest.mark.parametrize("name", BATCHES)
def test_without_autograd_updates_are_the_same(name: str):
    x, y, options = BATCHES[name]
    loss_fn = nn.MSELoss() if y.is_floating_point() else nn.CrossEntropyLoss()
    trainers = twins(loss_fn=loss_fn, gradient_persistence=0.3, synaptic_noise=1e-3)
    losses = []
    for trainer in trainers:
        torch.manual_seed(11)
        losses.append([trainer.train_batch(x, y, 12, 2, **options) for _ in range(8)])
        trainer.flush()
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for (parameter, own), other in zip(trainers[0].model.named_parameters(), trainers[1].model.parameters(), strict=True):
        assert torch.allclose(own, other, atol=1e-4), parameter


def test_a_loss_with_weights_of_its_own_teaches_them_too():
    head = nn.Linear(3, 2)
    for trainer in twins():
        trainer.train_batch(torch.randn(4, 2), torch.zeros(4, 2), 5, gradient_accumulation_steps=2, output_transform=head)
        assert head.weight.grad.abs().max() > 0 and trainer.model.W.grad.abs().max() > 0
        head.weight.grad = None


def test_frozen_weights_stay():
    model = RealNet(5, [0], [4])
    model.b.requires_grad_(False)
    trainer = RealNetTrainer(model, optimizer=torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1))
    before = model.W.detach().clone()
    trainer.train_batch(torch.ones(2, 1), torch.zeros(2, 1), 4)
    assert model.b.grad is None and not model.b.any() and not torch.equal(model.W, before)


def test_truncation_cuts_the_gradient_but_not_the_state():
    """One window is the whole; with two, the first input gets no gradient from the second window's loss, and the outputs stay."""
    x, mask = torch.randn(3, 6, 2), torch.zeros(3, 6, 3)
    mask[:, 3:] = 1
    y = torch.zeros(3, 6, 3)
    gradients = {}
    for size in (12, 6):
        trainer = twins(synaptic_noise=0.0)[0]
        trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.0)
        loss = trainer.train_batch(x, y, 12, 2, True, mask, tbptt_steps=size)
        gradients[size] = trainer.model.W.grad
        outputs = trainer.predict(x, 12, full_sequence=True)
        assert loss == pytest.approx(float((outputs[:, 3:] ** 2).mean()) * (0.5 if size == 6 else 1.0), rel=1e-4)
    assert not torch.allclose(gradients[12], gradients[6], rtol=0.01)
    whole = twins(synaptic_noise=0.0)[0]
    whole.train_batch(x, y, 12, 2, True, mask)
    assert torch.allclose(whole.model.W.grad, gradients[12], atol=1e-6)


@pytest.mark.parametrize("pulse", [True, False])
def test_windows_of_a_single_frame_go_on_as_the_whole_does(pulse: bool):
    trainer = twins(synaptic_noise=0.0, pulse=pulse)[0]
    trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.0)
    x, y = torch.randn(3, 2), torch.randn(3, 10, 3)
    whole = trainer.train_batch(x, y, 10, full_sequence=True)
    assert trainer.train_batch(x, y, 10, full_sequence=True, tbptt_steps=4) == pytest.approx(whole, rel=1e-4)


WRONG = {
    "no full sequence": ({"tbptt_steps": 4}, (2, 3), "tbptt_steps needs full_sequence=True"),
    "amid a token": ({"tbptt_steps": 5, "full_sequence": True}, (2, 4, 3), "tbptt_steps = 5 must be a positive multiple of the 3 steps"),
    "targets of the end": ({"tbptt_steps": 6, "full_sequence": True}, (2, 3), "must hold 4 read steps in dimension 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_windows_that_cannot_be(name: str):
    options, shape, said = WRONG[name]
    with pytest.raises(ValueError) as caught:
        twins()[0].train_batch(torch.randn(2, 4, 2), torch.zeros(shape), 12, **options)
    assert said in str(caught.value)


@pytest.mark.parametrize("listened", [False, True])
def test_recomputed_segments_give_the_same_update(listened: bool):
    results = []
    for segment in (0, 5):
        trainer = twins(segment=segment, synaptic_noise=0.0)[listened]
        trainer.train_batch(torch.randn(4, 2, generator=torch.Generator().manual_seed(1)), torch.zeros(4, 3), 23)
        results.append(trainer.model.W.detach().clone())
    assert torch.allclose(*results, atol=1e-6)


def test_bf16_learns_with_float32_weights():
    seen = []

    def look(output: Tensor) -> Tensor:
        seen.append(output.dtype)
        return output

    model = RealNet(16, range(8), range(8, 16), vocab_size=[20, 4])
    trainer = RealNetTrainer(model, loss_fn=nn.CrossEntropyLoss(), precision="bf16")
    x, y = torch.randn(16, 20), torch.randint(0, 4, (16,))
    losses = [trainer.train_batch(x, y, 6, output_transform=look) for _ in range(80)]
    assert losses[-1] < losses[0] / 4 and set(seen) == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    with pytest.raises(ValueError, match="precision must be one of float32, bf16, not 'fp16'"):
        RealNetTrainer(model, precision="fp16")
