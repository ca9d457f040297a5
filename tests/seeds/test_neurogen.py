"""`neurogen_python_integration.md`: its example as it is written (on the CPU), its seven tests, and what its code never did."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import libneurogen
from pipeline.apps.neurogen import checkpoint

SMALL = {"wernicke": 64, "hippocampus": 32, "prefrontal": 64, "basal_ganglia": 32, "broca": 64, "key_size": 16}
VOCABULARY = 12
BATCH = np.random.default_rng(0).integers(0, VOCABULARY, (3, 9))
SENTENCE = "it was the best of times, it was the worst of times, it was the age"
PAST_ALL_GPUS = 1000


def small(**options) -> libneurogen.NeuroGenModel:
    return libneurogen.NeuroGenModel(**{"vocab_size": VOCABULARY, "embedding_dim": 32, **SMALL, **options})


def steps(model: libneurogen.NeuroGenModel, count: int) -> list[float]:
    return [model.train_step(BATCH[:, :-1], BATCH[:, 1:]) for _ in range(count)]


def test_the_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = libneurogen.NeuroGenModel(vocab_size=50257, embedding_dim=512, gpu_device=-1)
    loss = model.train_step(input_token_ids=[1, 2, 3, 4], target_token_ids=[2, 3, 4, 5])
    assert loss == pytest.approx(math.log(50257), abs=0.3)
    output = model.generate(prompt_token_ids=[1, 2, 3], max_length=100, temperature=1.0)
    assert output[:3] == [1, 2, 3] and len(output) == 103
    model.save_checkpoint("checkpoint.bin")
    sizes = sum(parameter.nbytes for parameter in model.brain.parameters())
    assert 3 * sizes < Path("checkpoint.bin").stat().st_size < 3.01 * sizes, "weights and two moments of each"
    Path("checkpoint.bin").unlink()  # half a gigabyte


def test_a_new_model_is_uniform():
    ids = np.random.default_rng(1).integers(0, VOCABULARY, (16, 33))
    assert small().train_step(ids[:, :-1], ids[:, 1:]) == pytest.approx(math.log(VOCABULARY), abs=0.1)


def test_encode_forward_sample():
    model = small()
    embedding = model.encode_tokens([1, 2, 3])
    assert embedding.shape == (3, 32) and embedding.dtype == np.float32
    logits = model.forward(embedding)
    assert logits.shape == (VOCABULARY,) and 0 <= model.sample_token(logits, temperature=1.0) < VOCABULARY
    model.reset()
    assert np.array_equal(model.forward(embedding.tolist()), logits), "lists as arrays"
    assert not np.array_equal(model.forward(embedding), logits), "the state goes on"


def test_a_batch_is_its_rows_and_a_text_in_pieces_the_text():
    model = small()
    steps(model, 5)
    model.reset()
    together = model.forward(model.encode_tokens(BATCH))
    for row, wanted in zip(BATCH, together, strict=True):
        model.reset()
        model.forward(model.encode_tokens(row[:4]))
        np.testing.assert_allclose(model.forward(model.encode_tokens(row[4:])), wanted, atol=1e-5)
    ids = model.sample_token(together, temperature=0)
    assert ids == together.argmax(1).tolist()


def test_forward_is_what_training_and_writing_compute():
    model = small()
    steps(model, 5)
    model.reset()
    logits = model.forward(model.encode_tokens(BATCH[0]))
    with torch.no_grad():
        expected, _ = model.brain(torch.from_numpy(BATCH[:1]))
    np.testing.assert_allclose(logits, expected[0, -1].numpy(), atol=1e-5)
    assert model.generate(BATCH[0].tolist(), max_length=1, temperature=0)[-1] == logits.argmax()


def test_an_earlier_token_changes_the_logits():
    model = small()
    steps(model, 5)
    found = []
    for first in (1, 2):
        model.reset()
        found.append(model.forward(model.encode_tokens([first, 3, 4, 5, 6])))
    assert not np.allclose(*found)


def test_it_memorises_a_sentence():
    letters = sorted(set(SENTENCE))
    ids = [letters.index(letter) for letter in SENTENCE]
    model = small(vocab_size=len(letters), learning_rate=0.02)
    for _ in range(400):
        model.reset()
        if (loss := model.train_step(ids[:-1], ids[1:])) < 0.03:
            break
    assert loss < 0.1
    model.reset()
    right = []
    for token, wanted in itertools.pairwise(ids):
        right.append(model.sample_token(model.forward(model.encode_tokens([token])), temperature=0) == wanted)
    assert np.mean(right) > 0.9


def test_the_sampler_draws_from_the_distribution():
    model, logits, draws = small(), np.random.default_rng(2).normal(size=VOCABULARY), 20000
    for temperature in (0.5, 1.0, 2.0):
        weights = np.exp(logits / temperature)
        expected = draws * weights / weights.sum()
        counts = np.bincount(model.sample_token(np.tile(logits, (draws, 1)), temperature), minlength=VOCABULARY)
        assert ((counts - expected) ** 2 / expected).sum() < 40, "chi-square with 11 degrees of freedom: 1 of 30,000 is higher"
    assert model.sample_token(logits, temperature=0) == logits.argmax()
    assert set(model.sample_token(np.tile(logits, (200, 1)), top_k=3)) == set(np.argsort(logits)[-3:].tolist())
    one, other = (small(seed=5) for _ in range(2))
    assert one.generate([1], 30) == other.generate([1], 30) != one.generate([1], 30)


def test_prompts_of_several_lengths_and_the_state_of_before():
    model = small()
    model.forward(model.encode_tokens([1, 2]))
    state = [part.clone() for part in model.state]
    texts = model.generate([[1], [2, 3, 4]], max_length=5)
    assert [len(text) for text in texts] == [6, 8]
    assert all(torch.equal(part, kept) for part, kept in zip(model.state, state, strict=True))


def test_statistics():
    model = small()
    before = model.get_statistics()
    assert before["loss"] is None and before["tokens_processed"] == 0 and set(before["firing_rates"].values()) == {0.0}
    losses = steps(model, 3)
    after = json.loads(json.dumps(model.get_statistics(), allow_nan=False))
    assert after["tokens_processed"] == 3 * BATCH[:, 1:].size and after["training_steps"] == 3 and after["loss"] == losses[-1]
    assert -after["average_reward"] == after["average_loss"] and min(losses) < after["average_loss"] < max(losses)
    assert after["dopamine"] != 0 and after["serotonin"] != 0
    assert all(0 < rate < 0.6 for rate in after["firing_rates"].values()) and len(after["firing_rates"]) == 6
    assert list(after["phases"]) == ["sensation", "perception", "integration", "selection", "action"]
    assert after["phases"]["action"] == {"steps": 4, "rate": after["firing_rates"]["broca"]}


@pytest.mark.parametrize("rule", ["bptt", "eprop", "three_factor"])
def test_a_checkpoint_goes_on_exactly(tmp_path, rule):
    model = small(learning=rule)
    steps(model, 3)
    model.save_checkpoint(tmp_path / "brain")
    statistics = model.get_statistics()
    other = small(learning=rule, seed=8)
    steps(other, 1)
    other.load_checkpoint(str(tmp_path / "brain"))
    assert other.get_statistics() == statistics
    assert steps(other, 10) == steps(model, 10)
    assert other.generate([1, 2], 20) == model.generate([1, 2], 20)
    other.save_checkpoint(tmp_path / "one")
    model.save_checkpoint(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_without_the_optimizer_it_would_not(tmp_path):
    """The test above can fail."""
    model = small()
    steps(model, 3)
    model.save_checkpoint(tmp_path / "brain")
    other = small()
    other.load_checkpoint(tmp_path / "brain")
    other.optimizer.state.clear()
    assert steps(other, 3) != steps(model, 3)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    model = small()
    steps(model, 1)
    path, chance = tmp_path / "brain", np.random.default_rng(3)
    model.save_checkpoint(path)
    whole = path.read_bytes()
    twin = small()
    twin.load_checkpoint(path)
    start = int.from_bytes(whole[:8], "little")
    places = [*range(0, 8), *chance.integers(8, start, 40), *chance.integers(start, len(whole), 20), len(whole) - 1]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << int(chance.integers(0, 7))
        path.write_bytes(changed)
        with pytest.raises(RuntimeError, match="brain"):
            model.load_checkpoint(path)
    for length in (0, 7, start, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(RuntimeError, match="brain"):
            model.load_checkpoint(path)
    with pytest.raises(RuntimeError, match="missing"):
        model.load_checkpoint(tmp_path / "none")
    assert steps(model, 2) == steps(twin, 2), "what was refused changed nothing"


def forged(groups: dict, record: dict) -> list[tuple[dict, dict, str]]:
    """Checkpoints whose checksums are right, and contents wrong; and what is said of each."""
    short = {**groups["state"], "key": groups["state"]["key"][:, 1:]}
    half = {name: tensor for name, tensor in groups["optimizer"].items() if name != "0/exp_avg"}
    silent = {name: tensor for name, tensor in groups["weights"].items() if name != "lm_head.bias"}
    return [
        ({**groups, "state": short}, record, "key is float32 of shape"),
        ({**groups, "state": {"extra": short["key"]}}, record, "adaptation is absent|extra is"),
        ({**groups, "optimizer": half}, record, "0/exp_avg is absent"),
        ({**groups, "optimizer": {"999/step": groups["optimizer"]["0/step"]}}, record, "999/step is float32"),
        ({**groups, "weights": silent}, record, "asks for lm_head.bias to be"),
        (groups, {**record, "counts": {"seed": 1}}, "has the counts"),
        (groups, {"config": record["config"], "rates": {}}, "has no counts"),
    ]


def test_a_forged_checkpoint_is_refused(tmp_path):
    model, twin, path = small(), small(), tmp_path / "brain"
    steps(model, 2)
    steps(twin, 2)
    model.save_checkpoint(path)
    for groups, record, sentence in forged(*checkpoint.read(path)):
        checkpoint.write(path, groups, record)
        with pytest.raises(RuntimeError, match=sentence):
            model.load_checkpoint(path)
    assert steps(model, 2) == steps(twin, 2)


def test_a_checkpoint_of_another_brain_is_refused(tmp_path):
    small(vocab_size=13).save_checkpoint(tmp_path / "brain")
    with pytest.raises(ValueError, match="its vocab_size is 13, that of this one 12"):
        small().load_checkpoint(tmp_path / "brain")


WRONG = [
    (lambda m: m.encode_tokens([1, 12]), r"token_ids\[0, 1\] is 12|token_ids\[1\] is 12: ids of this vocabulary go from 0 to 11"),
    (lambda m: m.train_step([[0, -1]], [[0, 1]]), r"input_token_ids\[0, 1\] is -1"),
    (lambda m: m.train_step([], []), "at least one token id"),
    (lambda m: m.train_step([1, 2, 3], [2, 3]), "one shape"),
    (lambda m: m.train_step([[1, 2], [3]], [[2, 3], [4]]), "unequal lengths"),
    (lambda m: m.train_step([1.5], [2.5]), "whole numbers"),
    (lambda m: m.generate([]), "at least one token id"),
    (lambda m: m.generate([[1], []]), "at least one token id"),
    (lambda m: m.generate([1], max_length=0), "max_length is 0"),
    (lambda m: m.generate([1], temperature=-1), "temperature is -1"),
    (lambda m: m.forward(np.zeros((3, 31))), "last axis must be of 32"),
    (lambda m: m.forward(np.full((3, 32), np.nan)), "no finite number"),
    (lambda m: m.sample_token(np.zeros(11)), "last axis must be of 12"),
    (lambda m: (m.train_step([1], [2]), m.train_step([[1], [2]], [[1], [2]])), "call reset()"),
    (lambda m: small(gpu_device="tpu"), "gpu_device is 'tpu'"),
    (lambda m: small(vocab_size=1), "vocab_size is 1"),
    (lambda m: small(embedding_dim=30), "16"),
    (lambda m: small(wernicke=-16), "wernicke"),
    (lambda m: small(learning_rate=0), "learning_rate is 0"),
]


@pytest.mark.parametrize(("call", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_mistakes_are_said(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(small())


def test_a_gpu_that_is_not_there_is_no_cpu():
    with pytest.raises(RuntimeError, match="gpu_device is 1000, but torch finds"):
        small(gpu_device=PAST_ALL_GPUS)
    assert small(gpu_device="cpu").device == torch.device("cpu")
