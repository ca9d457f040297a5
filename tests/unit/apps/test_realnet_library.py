"""RealNet beyond its document: mistakes are sentences, growth changes nothing, files are whole, any number of steps will do."""

import gc

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.apps import realnet
from pipeline.apps.realnet import RealNet, RealNetTrainer
from pipeline.ops.reference_recurrent import ACTIVATIONS


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(5)


def trained(activation: str = "tanh", optimizer=None, updates: int = 5) -> RealNetTrainer:
    model = RealNet(9, [0, 1], [7, 8], activation=activation)
    trainer = RealNetTrainer(model, optimizer=optimizer(model) if optimizer else None)
    x, y = torch.randn(16, 2), torch.randn(16, 2)
    for _ in range(updates):
        trainer.train_batch(x, y, 4)
    return trainer


def sorting(labels) -> float:
    """A batch of two rows for a network of two classes."""
    return RealNetTrainer(RealNet(5, [0], [3, 4]), loss_fn=nn.CrossEntropyLoss()).train_batch(torch.ones(2, 1), labels, 3)


MISTAKES = {
    "a wrong id": (lambda: RealNet(3, [0, 3], [2]), "input_ids holds 3, but neurons are numbered from 0 to 2"),
    "a negative id": (lambda: RealNet(3, [0], [-1]), "output_ids holds -1"),
    "an id twice": (lambda: RealNet(3, [0, 1, 0], [2]), "input_ids holds 0 twice"),
    "a number for ids": (lambda: RealNet(3, 2, [2]), "input_ids must be a list of neurons, not 2"),
    "half an id": (lambda: RealNet(3, [0.5], [2]), "input_ids holds 0.5, but neurons are numbered from 0 to 2"),
    "a pulse mode of words": (lambda: RealNet(3, [0], [2], pulse_mode="no"), "pulse_mode must be True or False, not 'no'"),
    "a rate of words": (lambda: RealNet(3, [0], [2], dropout_rate="0.1"), "dropout_rate must be at least 0 and below 1, not '0.1'"),
    "three widths": (lambda: RealNet(3, [0], [2], vocab_size=[4, 4, 4]), "vocab_size must be a positive number, or two of them"),
    "no ids": (lambda: RealNet(3, [], [2]), "input_ids must name at least one neuron"),
    "an unknown initialiser": (lambda: RealNet(3, [0], [2], weight_init="orthogonl"), "weight_init must be one of orthogonal, "),
    "an unknown activation": (lambda: RealNet(3, [0], [2], activation="softmax"), "activation must be one of identity, "),
    "an unknown mode": (lambda: RealNet(3, [0], [2], vocab_size=4, vocab_mode="both"), "vocab_mode must be one of hybrid, "),
    "a vocabulary of none": (lambda: RealNet(3, [0], [2], vocab_size=[0, 4]), "vocab_size must be a positive number"),
    "a rate of one": (lambda: RealNet(3, [0], [2], dropout_rate=1.0), "dropout_rate must be at least 0 and below 1, not 1.0"),
    "no neurons": (lambda: RealNet(0, [0], [0]), "num_neurons must be a whole number of at least 1, not 0"),
    "too many features": (
        lambda: RealNet(5, [0, 1], [2])(torch.ones(2, 3)),
        "must end with 2 features (one an input neuron) or with all 5",
    ),
    "values elsewhere": (lambda: RealNet(5, [0, 1], [2])(torch.ones(2, 5)), "neurons that are not in input_ids"),
    "an unknown token": (lambda: RealNet(5, [0], [2], vocab_size=7)(torch.tensor([[1, 7]]), 2), "x_input[0, 1] = 7 must be from 0 to 6"),
    "a token of no neuron": (lambda: RealNet(5, [0, 1], [2])(torch.tensor([[2]])), "must be from -1 to 1: one of the 2 input neurons"),
    "tokens for vectors": (
        lambda: RealNet(5, [0], [2], vocab_size=7, vocab_mode="continuous")(torch.tensor([[1]])),
        "vocab_mode = 'continuous' takes vectors",
    ),
    "vectors for tokens": (
        lambda: RealNet(5, [0], [2], vocab_size=7, vocab_mode="discrete")(torch.ones(1, 7)),
        "vocab_mode = 'discrete' takes tokens",
    ),
    "fewer steps than tokens": (lambda: RealNet(5, [0], [2])(torch.ones(1, 4, 1), 3), "multiple of the 4 tokens of x_input: choose 4"),
    "a remainder": (
        lambda: RealNet(5, [0], [2])(torch.ones(1, 5, 1), 12),
        "steps = 12 must be a multiple of the 5 tokens of x_input: choose 10 or 15",
    ),
    "no steps": (lambda: RealNet(5, [0], [2])(torch.ones(1, 1), 0), "steps must be a whole number of at least 1, not 0"),
    "a state of another batch": (
        lambda: RealNet(5, [0], [2])(torch.ones(2, 1), 1, torch.ones(3, 5)),
        "current_state must be [batch, neurons] = [2, 5]",
    ),
    "a list": (lambda: RealNet(5, [0], [2])([[1.0]]), "x_input must be a tensor, not list"),
    "a flat target": (
        lambda: trained().train_batch(torch.ones(4, 2), torch.ones(4), 3),
        "target_values must have the output's shape [4, 2], not [4]",
    ),
    "another device": (lambda: RealNetTrainer(RealNet(3, [0], [2]), device="cuda"), "the network is on cpu: build it there"),
    "rows without targets": (lambda: trained().fit(torch.ones(4, 2), torch.ones(3, 2)), "equally many rows, at least 1, not 4 and 3"),
    "no gradient yet": (
        lambda: RealNetTrainer(RealNet(3, [0], [2])).regenerate_synapses(rule="usefulness"),
        "needs a gradient: train a batch first",
    ),
    "an unknown rule": (lambda: trained().regenerate_synapses(rule="age"), "rule must be one of magnitude, usefulness, not 'age'"),
    "a share above one": (lambda: trained().regenerate_synapses(percentage=5), "percentage must be a share from 0 to 1, not 5"),
    "a label of no output": (lambda: sorting([0, 2]), "target_values must hold classes from 0 to 1, one an output neuron, not 2"),
    "labels in a column": (lambda: sorting([[0], [1]]), "target_values must have the shape [2], a class for each output, not [2, 1]"),
    "a mask of another shape": (
        lambda: trained().train_batch(torch.ones(4, 2), torch.ones(4, 2), 3, mask=torch.ones(4)),
        "mask must have the losses' shape [4, 2], not [4]",
    ),
    "windows with one loss": (
        lambda: trained().train_batch(torch.ones(4, 2), torch.ones(4, 2), 4, tbptt_steps=2),
        "tbptt_steps needs full_sequence=True",
    ),
    "a persistence of one": (
        lambda: RealNetTrainer(RealNet(3, [0], [2]), gradient_persistence=1.0),
        "gradient_persistence must be at least 0 and below 1.0, not 1.0",
    ),
    "an unknown precision": (lambda: RealNetTrainer(RealNet(3, [0], [2]), precision="fp16"), "precision must be one of float32, bf16"),
    "nothing to add": (lambda: trained().expand(0), "amount must be a whole number of at least 1, not 0"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_a_sentence(name: str):
    action, said = MISTAKES[name]
    with pytest.raises(ValueError) as caught:
        action()
    assert said in str(caught.value)


OPTIMIZERS = {
    "AdamW": lambda model: torch.optim.AdamW(model.parameters(), lr=0.01),
    "SGD with momentum": lambda model: torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9),
    "two groups": lambda model: torch.optim.Adam(
        [{"params": [model.W], "lr": 0.02}, {"params": [model.b, model.gain, model.input_scale, model.output_scale]}]
    ),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_expand_preserves_the_function(activation: str):
    trainer = trained(activation)
    x = torch.randn(20, 2)
    before = trainer.predict(x, 3, full_sequence=True)
    trainer.expand(7, verbose=False)
    trainer.expand(1, verbose=False)
    assert trainer.model.W.shape == (17, 17)
    assert torch.allclose(trainer.predict(x, 3, full_sequence=True), before, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_moments_migrate_and_training_goes_on(name: str):
    trainer = trained(optimizer=OPTIMIZERS[name])
    kept = {key: value.clone() for key, value in trainer.optimizer.state[trainer.model.W].items() if value.dim() == 2}
    groups = [len(group["params"]) for group in trainer.optimizer.param_groups]
    trainer.expand(3, verbose=False)
    state = trainer.optimizer.state[trainer.model.W]
    assert kept and all(torch.equal(state[key][:9, :9], value) and not state[key][9:].any() for key, value in kept.items())
    assert [len(group["params"]) for group in trainer.optimizer.param_groups] == groups
    x, y = torch.randn(32, 2), torch.randn(32, 2)
    losses = [trainer.train_batch(x, y, 4) for _ in range(60)]
    assert losses[-1] < losses[0] * 0.95
    assert trainer.model.W[:9, 9:].abs().max() > 0, "the new neurons learn what to listen to"


def test_regeneration_by_usefulness_resets_moments_and_can_be_tried_dry():
    trainer = trained()
    W = trainer.model.W
    score = (W * W.grad).abs().flatten().detach()
    before = W.detach().clone()
    assert trainer.regenerate_synapses(percentage=0.25, rule="usefulness", dry_run=True) == (20, 81)
    assert torch.equal(W, before)
    trainer.regenerate_synapses(percentage=0.25, rule="usefulness")
    changed = (before != W).flatten()
    assert changed.sum() == 20 and score[changed].max() <= score[~changed].min()
    assert not trainer.optimizer.state[W]["exp_avg"].flatten()[changed].any()
    assert trainer.optimizer.state[W]["exp_avg"].flatten()[~changed].any()


def test_a_threshold_is_relative_to_the_initialiser():
    model = RealNet(800, [0], [1])
    share = RealNetTrainer(model).regenerate_synapses(0.01, dry_run=True)[0] / model.W.numel()
    absolute = RealNetTrainer(model).regenerate_synapses(0.01, dry_run=True, relative=False)[0] / model.W.numel()
    assert share < 0.01 < 0.2 < absolute, "a fresh network is not a fifth dead"


def test_load_rebuilds_a_grown_network_and_its_training_goes_on(tmp_path):
    trainer = trained()
    trainer.expand(2, verbose=False)
    x, y = torch.randn(16, 2), torch.randn(16, 2)
    trainer.train_batch(x, y, 4)
    path = tmp_path / "net.safetensors"
    realnet.save_checkpoint(trainer.model, trainer.optimizer, 7, 0.25, path, {"accuracy": np.float32(0.5), "curve": np.arange(3)})
    again = realnet.load(path)
    assert torch.equal(again(x, 9)[0], trainer.model.eval()(x, 9)[0])
    info = realnet.get_checkpoint_info(path)
    assert (info["epoch"], info["loss"], info["num_neurons"]) == (7, 0.25, 11)
    assert info["extra_data"] == {"accuracy": 0.5, "curve": [0, 1, 2]}
    other = RealNetTrainer(again)
    assert realnet.load_checkpoint(again, other.optimizer, path)["epoch"] == 7
    for one in (trainer, other):
        one.synaptic_noise = 0.0
        one.train_batch(x, y, 4)
    assert torch.equal(trainer.model.W, again.W), "with its moments, the next update is the same"


def test_sizes_that_differ_are_refused_or_loaded_as_far_as_they_go(tmp_path):
    realnet.save_checkpoint(RealNet(6, [0], [5]), None, 0, 0.0, tmp_path / "six")
    larger = RealNet(8, [0], [7])
    with pytest.raises(ValueError, match=r"W is \[6, 6\] there but \[8, 8\] in the network"):
        realnet.load_checkpoint(larger, None, tmp_path / "six")
    realnet.load_checkpoint(larger, None, tmp_path / "six", strict=False)
    assert torch.equal(larger.W[:6, :6], realnet.load(tmp_path / "six").W)


def test_files_that_are_no_checkpoints(tmp_path):
    path = tmp_path / "net"
    realnet.save_checkpoint(RealNet(6, [0], [5]), None, 0, 0.0, path)
    data = path.read_bytes()
    for damaged in (data[:-5], data[:40], b"", data.replace(b'{\\"epoch', b'{\\"epoxx')):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"net"):
            realnet.load(path)
    path.write_bytes(data.replace(b'\\"version\\": 1', b'\\"version\\": 2'))
    with pytest.raises(ValueError, match="of version 2; this program reads version 1"):
        realnet.load(path)
    with pytest.raises(ValueError, match="extra_data cannot be kept"):
        realnet.save_checkpoint(RealNet(6, [0], [5]), None, 0, 0.0, path, {"object": object()})


def test_transplant_keeps_the_strongest_hidden_neurons_and_refuses_no_overlap(tmp_path):
    large = RealNet(10, [0], [9], activation="relu")
    with torch.no_grad():
        large.W[[3, 6]] *= 10
    realnet.save_checkpoint(large, None, 0, 0.0, tmp_path / "large")
    small = RealNet(4, [3], [0])
    assert realnet.transplant_weights(small, tmp_path / "large", verbose=False) > 0
    roles = [9, 3, 6, 0]
    assert torch.equal(small.W, large.W[roles][:, roles])
    realnet.save_checkpoint(RealNet(1, [0], [0]), None, 0, 0.0, tmp_path / "input only")
    hidden_output = RealNet(3, [2], [1])
    assert realnet.transplant_weights(hidden_output, tmp_path / "input only", verbose=False) == 1 + 2 + 2
    with pytest.raises(ValueError, match="no neurons of a common role"):
        realnet.transplant_weights(_without_roles(hidden_output), tmp_path / "input only", verbose=False)


def _without_roles(model: RealNet) -> RealNet:
    model.input_ids = []
    return model


def test_a_stream_gives_what_the_whole_sequence_gives():
    model = RealNet(12, range(4), range(8, 12))
    x = torch.randn(2, 10, 4)
    whole, _ = model(x, steps=30)
    state, answers = None, []
    for k in range(10):
        answer, state = model.step(x[:, k], state, steps=3)
        answers.append(answer)
    assert torch.allclose(torch.stack(answers, 1), model.output(whole), atol=1e-5)


def test_a_stream_takes_the_same_memory_however_long_it_is():
    model, state = RealNet(12, range(4), range(8, 12)), None
    kept = []
    for length in (5, 500):
        for _ in range(length):
            _, state = model.step(torch.ones(2, 4), state)
        assert state.shape == (2, 12) and state.grad_fn is None, "a history would grow with the stream"
        gc.collect()
        kept.append(sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects()))
    assert kept[0] == kept[1]


@pytest.mark.parametrize("ids", [np.arange(2), torch.arange(2), (0, 1), range(2)], ids=["numpy", "torch", "tuple", "range"])
def test_neurons_may_be_named_by_any_whole_numbers(ids, tmp_path):
    model = RealNet(5, ids, [4])
    realnet.save_checkpoint(model, None, 0, 0.0, tmp_path / "net")
    assert model.input_ids == realnet.load(tmp_path / "net").input_ids == [0, 1]


def test_thinking_longer_or_shorter_keeps_the_accuracy():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor((images - images.mean(0)) / 16).float(), torch.tensor(labels)
    order = torch.randperm(len(x))
    train, test = order[360:], order[:360]
    model = RealNet(74, range(64), range(64, 74), dropout_rate=0.1)
    trainer = RealNetTrainer(model, loss_fn=nn.CrossEntropyLoss())
    schedule = torch.optim.lr_scheduler.OneCycleLR(trainer.optimizer, 3e-3, total_steps=40, pct_start=0.1)
    for _ in range(40):
        for rows in train[torch.randperm(len(train))].split(32):
            steps = int(torch.randint(5, 21, ()))
            answers = y[rows].repeat_interleave(steps - 4)
            trainer.train_batch(x[rows], answers, steps, full_sequence=True, output_transform=lambda out: out[:, 4:].flatten(0, 1))
        schedule.step()
    right = {steps: (trainer.predict(x[test], steps).argmax(1) == y[test]).float().mean().item() for steps in (5, 10, 20, 60)}
    assert min(right.values()) > 0.93
    assert max(right.values()) - min(right.values()) < 0.02


def test_one_bad_batch_does_not_poison_the_weights():
    trainer = trained()
    trainer.synaptic_noise = 0.0
    before = trainer.model.W.detach().clone()
    trainer.train_batch(torch.full((2, 2), float("nan")), torch.ones(2, 2), 3)
    assert torch.equal(trainer.model.W, before) and trainer.skipped == 1
    trainer.train_batch(torch.ones(2, 2), torch.ones(2, 2), 3)
    assert not torch.equal(trainer.model.W, before) and trainer.skipped == 1
