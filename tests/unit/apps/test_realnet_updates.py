"""Updates made without torch's operations are those of the definition: the same weights, moments, losses and random numbers."""

from typing import Any

import pytest
import torch
from torch import nn

from pipeline.apps.realnet import RealNet, RealNetTrainer, updates

ROWS = 22
CASES: dict[str, dict[str, Any]] = {
    "a pulse": {},
    "held input, dropout": {"pulse_mode": False, "dropout_rate": 0.2, "activation": "gelu"},
    "any number of steps": {"thinking_steps": (2, 6)},
    "a loss at each step": {"full_sequence": True},
    "a sequence": {"sequence": 3, "thinking_steps": 6, "full_sequence": True},
    "weight decay": {"optimizer": {"lr": 0.02, "weight_decay": 0.3, "betas": (0.8, 0.95)}},
    "a gradient that is always too long": {"clip": 1e-3},
}


def trained(quick: bool, case: dict[str, Any], epochs: int = 3) -> tuple[RealNetTrainer, list[float], bool]:
    """A trainer after some epochs, their losses, and whether the quick way was gone."""
    torch.manual_seed(5)
    case = dict(case)
    frames, steps, every = case.pop("sequence", None), case.pop("thinking_steps", 4), case.pop("full_sequence", False)
    options, clip, noise = case.pop("optimizer", None), case.pop("clip", 1.0), case.pop("synaptic_noise", 1e-3)
    on_epoch = case.pop("on_epoch", None)
    model = RealNet(7, [0, 2, 5], [6, 5], bias_init=0.1, **case)
    x = torch.randn(ROWS, frames, 3) if frames else torch.randn(ROWS, 3)
    y = torch.randn(*((ROWS, frames or steps, 2) if every else (ROWS, 2)))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True, **options) if options else None
    trainer, used, own = RealNetTrainer(model, optimizer, clip=clip, synaptic_noise=noise), [], RealNetTrainer._quick

    def watched(*arguments: Any) -> Any:
        used.append(own(trainer, *arguments) if quick else None)
        return used[-1]

    trainer._quick = watched  # type: ignore[method-assign]
    call = None if on_epoch is None else lambda epoch, loss: on_epoch(trainer, epoch)
    losses = trainer.fit(x, y, epochs, 8, steps, full_sequence=every, on_epoch=call)
    return trainer, losses, bool(used) and all(each is not None for each in used)


def assert_same_place(case: dict[str, Any]) -> None:
    (one, losses, quick), state = trained(True, case), torch.get_rng_state()
    assert quick
    two, expected, slow = trained(False, case)
    assert not slow and torch.equal(torch.get_rng_state(), state)
    assert losses == pytest.approx(expected, rel=1e-4)
    for ours, theirs in zip(one.model.parameters(), two.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-3)
        for key, held in two.optimizer.state[theirs].items():
            torch.testing.assert_close(one.optimizer.state[ours][key], held, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_the_quick_way_leads_to_the_same_place(name: str) -> None:
    assert_same_place(CASES[name])


def test_batches_epochs_and_growth_take_turns() -> None:
    """What torch did before is gone on from, and what is done here torch goes on from."""

    def between(trainer: RealNetTrainer, epoch: int) -> None:
        trainer.train_batch(torch.ones(4, 3), torch.zeros(4, 2), 4)
        if epoch == 0:
            torch.manual_seed(8)
            trainer.expand(2, verbose=False)
            for group in trainer.optimizer.param_groups:
                group["lr"] = 0.005

    assert_same_place({"on_epoch": between})


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    for quick in (True, False):
        model = RealNet(4, [0], [3])
        trainer, x = RealNetTrainer(model, synaptic_noise=0.0), torch.ones(6, 1)
        x[2] = torch.nan
        if not quick:
            trainer._quick = lambda *_: None  # type: ignore[method-assign]
        before = [parameter.clone() for parameter in model.parameters()]
        trainer.fit(x, torch.zeros(6, 1), 2, 6, 3)
        assert trainer.skipped == 2
        assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("what", ["loss", "schedule", "hook", "some weights", "two groups", "shape"])
def test_what_it_does_not_know_goes_the_usual_way(what: str) -> None:
    model, x, y = RealNet(4, [0], [3]), torch.ones(6, 1), torch.zeros(6, 1)
    parameters: Any = list(model.parameters())
    if what == "some weights":
        model.gain.requires_grad_(False)
    if what == "two groups":
        parameters = [{"params": parameters[:2]}, {"params": parameters[2:], "lr": 1e-4}]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2)
    if what == "schedule":
        torch.optim.lr_scheduler.ConstantLR(optimizer)
    if what == "hook":
        model.register_forward_hook(lambda *_: None)
    loss = nn.L1Loss() if what == "loss" else nn.MSELoss()
    y = y[:, 0] if what == "shape" else y
    assert not updates.possible(model, optimizer, loss, x, y, 3, False)
