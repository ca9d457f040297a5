"""`realnet_library.md`: its examples as they are written but for the import (and the CPU for 'cuda'), and what they claim."""

import pytest
import torch
from torch import Tensor

from pipeline.apps.realnet import RealNet, RealNetTrainer, prepare_input, save_checkpoint, to_tensor, transplant_weights

XOR = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
ANSWERS = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
DEVICE = "cpu"


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(1)


def test_initialization():
    model = RealNet(
        num_neurons=10,
        input_ids=[0, 1],
        output_ids=[9],
        pulse_mode=True,
        dropout_rate=0.1,
        device=DEVICE,
        vocab_size=None,
        vocab_mode="hybrid",
    )
    states, final = model(torch.randn(4, 2), steps=7)
    assert states.shape == (4, 7, 10) and final.shape == (4, 10)
    assert torch.allclose(model.W @ model.W.T, torch.eye(10), atol=1e-5), "orthogonal by default"


def test_asymmetric_vocabulary():
    model = RealNet(num_neurons=10, input_ids=range(10), output_ids=range(10), vocab_size=[784, 10], vocab_mode="continuous")
    states, final = model(torch.randn(4, 784), steps=10)
    assert states.shape == (4, 10, 10) and final.shape == (4, 10)
    assert model.embedding is None, "continuous mode has no embedding"
    assert RealNet(4, [0], [1], vocab_size=[7, -1], vocab_mode="discrete").projection is None


@pytest.mark.parametrize("sides", [[-1, 6], [6, -1]])
def test_a_disabled_side_leaves_the_neurons_themselves(sides):
    model = RealNet(5, [0, 1], [3, 4], vocab_size=sides, vocab_mode="continuous")
    one, _ = model(torch.randn(3, 2 if sides[0] < 0 else 6), steps=4)
    other, _ = model(torch.randn(3, 2 if sides[0] < 0 else 6), steps=4)
    assert one.shape == (3, 4, 6 if sides[1] > 0 else 5)
    assert not torch.allclose(one, other), "the input must matter"


def test_pulse_mode_enters_once_and_continuous_mode_at_each_step():
    x = torch.randn(3, 4)
    pulse, stream = (RealNet(20, range(4), [19], pulse_mode=mode) for mode in (True, False))
    stream.load_state_dict(pulse.state_dict())
    first, _ = pulse(x, steps=1)
    assert torch.equal(stream(x, steps=1)[0], first)
    assert not torch.allclose(stream(x, steps=3)[0][:, 2], pulse(x, steps=3)[0][:, 2])
    silent = torch.zeros(3, 4)
    handed = pulse(silent, steps=19, current_state=pulse(x, steps=1)[1])[1]
    assert torch.allclose(pulse(x, steps=20)[1], handed, atol=1e-4), "a pulse is silence after the first step"


def test_temporal_stretching_puts_silent_steps_between_tokens():
    batch, model = 2, RealNet(32, range(16), range(16, 32), vocab_size=50)
    tokens = torch.randint(0, 50, (batch, 128))
    states, final = model(tokens, steps=640)
    assert states.shape == (batch, 128, 50), "one answer a token"
    state = None
    for token in range(3):
        answer, state = model(tokens[:, token : token + 1], steps=5, current_state=state)
        assert torch.allclose(answer[:, -1], states[:, token], atol=1e-5)
    assert torch.allclose(model(tokens, steps=640)[1], final)


def test_sequences_of_vectors_and_of_ids_without_a_vocabulary():
    model = RealNet(12, [5, 2, 9], [11])
    dense, _ = model(torch.eye(3)[torch.tensor([[0, 2, 1]])], steps=6)
    ids, _ = model(torch.tensor([[0, 2, 1]]), steps=6)
    assert dense.shape == (1, 3, 12)
    assert torch.equal(dense, ids), "id k is a pulse on the k-th input neuron, also where the ids are in no order"


def test_compile_returns_the_compiled_model():
    model = RealNet(8, [0, 1], [7])
    x = torch.randn(2, 2)
    plain = model(x, steps=5)[0]
    names = list(model.state_dict())
    compiled = model.compile(backend="eager")
    assert torch.allclose(compiled(x, steps=5)[0], plain, atol=1e-6)
    assert list(compiled.state_dict()) == names


def fit_xor(trainer: RealNetTrainer, epochs: int = 100) -> list[float]:
    return trainer.fit(XOR.repeat(50, 1), ANSWERS.repeat(50, 1), epochs=epochs, thinking_steps=5)


def test_example_1_xor():
    # 2 inputs, 1 output, 0 hidden layers.
    model = RealNet(3, [0, 1], [2], device=DEVICE)
    trainer = RealNetTrainer(model, gradient_persistence=0.1)
    history = fit_xor(trainer)
    assert len(history) == 100 and history[-1] < 0.05 < history[0]
    assert ((trainer.predict(XOR, 5) > 0.5) == (ANSWERS > 0.5)).all()


def test_example_2_mnist_asymmetric_vocab():
    model = RealNet(num_neurons=10, input_ids=range(10), output_ids=range(10), vocab_size=[784, 10])
    trainer = RealNetTrainer(model, loss_fn=torch.nn.CrossEntropyLoss())
    images, labels = torch.rand(40, 784) - 0.5, torch.randint(0, 10, (40,))
    history = trainer.fit(images, labels, epochs=60, batch_size=20, thinking_steps=10)
    assert history[-1] < history[0] / 2
    assert trainer.predict(images, 10).shape == (40, 10)


def test_train_batch_accumulates_like_one_large_batch():
    models = [RealNet(6, [0, 1], [5]) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    x, y = torch.randn(8, 2), torch.randn(8, 1)
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in models]
    whole, parts = (RealNetTrainer(m, optimizer=o, synaptic_noise=0.0, clip=1e9) for m, o in zip(models, optimizers, strict=True))
    whole.train_batch(x, y, thinking_steps=4)
    for part in range(4):
        parts.train_batch(x[part * 2 : part * 2 + 2], y[part * 2 : part * 2 + 2], thinking_steps=4, gradient_accumulation_steps=4)
    assert torch.allclose(models[0].W, models[1].W, atol=1e-6)


def test_full_sequence_mask_and_output_transform():
    model = RealNet(6, [0], [4, 5])
    trainer = RealNetTrainer(model, loss_fn=torch.nn.CrossEntropyLoss())
    x, y = torch.randn(3, 5, 1), torch.randint(0, 2, (3, 5))
    mask = torch.zeros(3, 5)
    mask[:, -1] = 1

    def flat(output: Tensor) -> Tensor:
        return output.flatten(0, 1)

    loss = trainer.train_batch(x, y.flatten(), 5, full_sequence=True, mask=mask.flatten(), output_transform=flat)
    assert trainer.predict(x, 5, full_sequence=True).shape == (3, 5, 2)
    model.zero_grad()
    assert loss > 0
    same = trainer.predict(x, 5), trainer.predict(x, 5, full_sequence=True)[:, -1]
    assert torch.equal(*same), "predict's last step is predict's full sequence's last"


def test_masked_steps_do_not_count():
    losses = []
    for other in (0.0, 100.0):
        torch.manual_seed(3)
        trainer = RealNetTrainer(RealNet(6, [0], [5]), synaptic_noise=0.0)
        target = torch.full((2, 4, 1), other)
        target[:, 2] = 0.5
        mask = torch.zeros(2, 4, 1)
        mask[:, 2] = 1
        losses.append(trainer.train_batch(torch.ones(2, 4, 1), target, 4, full_sequence=True, mask=mask))
    assert losses[0] == losses[1]


def test_ghost_gradients_keep_a_share_of_the_last_gradient():
    model = RealNet(4, [0], [3])
    trainer = RealNetTrainer(
        model, optimizer=torch.optim.SGD(model.parameters(), lr=0.0), gradient_persistence=0.5, synaptic_noise=0.0, clip=1e9
    )
    x, y = torch.ones(2, 1), torch.ones(2, 1)
    trainer.train_batch(x, y, 3)
    single = model.W.grad.clone()
    trainer.train_batch(x, y, 3)
    assert torch.allclose(model.W.grad, 1.5 * single)


def test_synaptic_noise_moves_the_weights_by_its_deviation():
    model = RealNet(50, [0], [1])
    before = model.W.detach().clone()
    trainer = RealNetTrainer(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.0), synaptic_noise=0.01)
    trainer.train_batch(torch.ones(1, 1), torch.ones(1, 1), 2)
    assert (model.W.detach() - before).std().item() == pytest.approx(0.01, rel=0.1)


def test_regenerate_synapses_by_threshold_and_by_percentage():
    model = RealNet(40, [0], [1])
    trainer = RealNetTrainer(model)
    with torch.no_grad():
        model.W[:4] = 0
    before = model.W.detach().clone()
    revived, total = trainer.regenerate_synapses(threshold=0.01)
    assert total == 1600 and revived >= 160
    assert (model.W[:4] != 0).all() and torch.equal(model.W[before.abs() > 0.1], before[before.abs() > 0.1])
    assert trainer.regenerate_synapses(percentage=0.05) == (80, 1600)


def test_expand_when_the_loss_stagnates():
    trainer = RealNetTrainer(RealNet(4, [0, 1], [3]))
    fit_xor(trainer, epochs=3)
    before = trainer.predict(XOR, 5)
    trainer.expand(amount=1)
    assert trainer.model.num_neurons == 5
    assert torch.allclose(trainer.predict(XOR, 5), before, atol=1e-6)
    assert torch.isfinite(torch.tensor(fit_xor(trainer, epochs=3))).all()


def test_transplant_into_a_larger_network(tmp_path):
    small = RealNet(num_neurons=16, input_ids=[0, 1], output_ids=[15])
    save_checkpoint(small, None, epoch=3, loss=0.5, path=tmp_path / "small_model_checkpoint.safetensors")
    # Create a NEW, larger model
    big_model = RealNet(num_neurons=32, input_ids=[0, 1], output_ids=[31])
    # Transplant weights from a smaller, trained checkpoint
    transplant_weights(big_model, tmp_path / "small_model_checkpoint.safetensors")
    assert torch.equal(big_model.W[0, 31], small.W[0, 15]), "from the first input to the output, wherever these are"
    assert torch.equal(big_model.W[2:15, 2:15], small.W[2:15, 2:15])


def test_prepare_input():
    model = RealNet(6, [4, 1], [5])
    x_in, batch_size = prepare_input([[1.0, 2.0]], model.input_ids, model.num_neurons, DEVICE)
    assert batch_size == 1 and x_in.tolist() == [[0, 2, 0, 0, 1, 0]]
    assert torch.equal(model(x_in, steps=3)[0], model(torch.tensor([[1.0, 2.0]]), steps=3)[0])
    assert prepare_input(torch.ones(2, 3, 2), [4, 1], 6, DEVICE)[0].shape == (2, 3, 6)


def test_to_tensor_keeps_labels_whole():
    assert to_tensor([1, 2], DEVICE).dtype == torch.int64
    assert to_tensor(1.5, DEVICE).dtype == torch.float32
