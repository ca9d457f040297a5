"""The sampler: a pure function of seed, step, rank and world size."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data import sampler, shards

TOKENS = np.arange(1000, dtype=np.uint16)
SEEDS = st.integers(0, 2**63 - 1)


@given(SEEDS, st.integers(0, 10**9), st.sampled_from([1, 2, 3, 6]))
def test_ranks_together_see_the_same_windows_in_any_world(seed: int, step: int, world: int) -> None:
    whole = sampler.language_batch(TOKENS, seed, step, 6, 8)
    parts = [sampler.language_batch(TOKENS, seed, step, 6, 8, rank, world) for rank in range(world)]
    assert whole.shape == (6, 9) and str(whole.dtype) == "torch.int64"
    assert np.concatenate(parts).tolist() == whole.tolist()


@given(SEEDS, st.integers(0, 1000))
def test_windows_are_runs_of_the_text(seed: int, step: int) -> None:
    batch = sampler.language_batch(TOKENS, seed, step, 4, 16)
    assert (batch[:, 1:] - batch[:, :-1] == 1).all()
    assert batch.min() >= 0 and batch.max() < 1000


@pytest.mark.parametrize(("length", "context"), [(14, 4), (1000, 16), (33, 16), (17, 16)])
def test_an_epoch_has_every_window_of_a_tiling_once(length: int, context: int) -> None:
    """All but less than two windows' worth of tokens is a target exactly once."""
    windows = max(1, length // context - 1)
    for epoch in range(20):
        batch = sampler.language_batch(TOKENS[:length], 5, epoch, windows, context)
        targets = sorted(batch[:, 1:].flatten().tolist())
        assert targets == list(range(targets[0], targets[0] + windows * context))
        assert targets[-1] < length


def test_epochs_start_at_uniform_places() -> None:
    """14 tokens hold two windows of 4 besides six places to start them: no token is left out in every epoch."""
    firsts = [int(sampler.language_batch(TOKENS[:14], 3, epoch, 2, 4)[:, 0].min()) for epoch in range(6000)]
    counts = np.bincount(firsts)
    assert len(counts) == 6
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5  # 5 degrees of freedom, probability 0.001


def test_a_batch_may_span_epochs() -> None:
    one = sampler.language_batch(TOKENS[:100], 1, 0, 3 * 24, 4)
    parts = [sampler.language_batch(TOKENS[:100], 1, step, 24, 4) for step in range(3)]
    assert one.tolist() == np.concatenate(parts).tolist()


def test_seeds_and_steps_differ_and_nothing_depends_on_the_past() -> None:
    first = sampler.language_batch(TOKENS, 1, 7, 12, 64).tolist()
    others = [sampler.language_batch(TOKENS, seed, step, 12, 64).tolist() for seed, step in ((1, 8), (2, 7))]
    assert first not in others
    assert sampler.language_batch(TOKENS, 1, 7, 12, 64).tolist() == first


def test_the_numbers_are_fixed_for_ever() -> None:
    """SplitMix64 does not change with a library's version; a change here would silently change every training."""
    assert sampler.language_batch(TOKENS, 1337, 30, 4, 8)[:, 0].tolist() == [582, 726, 646, 766]
    assert sampler.row_batch(10, 1337, 0, 10).tolist() == [9, 4, 0, 2, 8, 7, 5, 1, 6, 3]


@given(SEEDS, st.integers(1, 60), st.integers(0, 30), st.sampled_from([1, 2, 4, 8]))
def test_ranks_together_see_the_same_rows_in_any_world(seed: int, rows: int, step: int, world: int) -> None:
    parts = [sampler.row_batch(rows, seed, step, 8, rank, world) for rank in range(world)]
    assert np.concatenate(parts).tolist() == sampler.row_batch(rows, seed, step, 8).tolist()


@given(SEEDS, st.integers(1, 60), st.integers(1, 20))
def test_an_epoch_has_every_row_once(seed: int, rows: int, batch_size: int) -> None:
    steps = -(-2 * rows // batch_size)
    seen = np.concatenate([sampler.row_batch(rows, seed, step, batch_size) for step in range(steps)])
    for epoch in range(2):
        assert sorted(seen[epoch * rows : (epoch + 1) * rows].tolist()) == list(range(rows))


def test_epochs_have_different_orders() -> None:
    orders = [tuple(sampler.row_batch(50, 1, epoch, 50).tolist()) for epoch in range(20)]
    assert len(set(orders)) == 20


def test_rows_come_in_uniform_order() -> None:
    counts = np.zeros((5, 5))
    for epoch in range(4000):
        counts[np.arange(5), sampler.row_batch(5, 9, epoch, 5)] += 1
    assert ((counts - 800) ** 2 / 800).sum() < 39.3  # 16 degrees of freedom, probability 0.001


def test_resuming_costs_the_same_at_any_step(tmp_path) -> None:
    path = tmp_path / "s"
    shards.write(path, {"tokens": np.zeros(4_000_000, dtype=np.uint16)})
    tokens = shards.open(path)["tokens"]

    def seconds(steps: range) -> float:
        """The quickest of several rounds, since other work may hold the processor."""
        rounds = []
        for _ in range(9):
            begin = time.process_time()
            for step in steps:
                sampler.language_batch(tokens, 1, step, 12, 64)
            rounds.append((time.process_time() - begin) / len(steps))
        return min(rounds)

    early, late = seconds(range(200)), seconds(range(10**12, 10**12 + 200))
    assert early < 50e-6
    assert late < 2 * early


@pytest.mark.parametrize(("batch_size", "rank", "world"), [(6, 0, 4), (6, 2, 2), (6, -1, 2)])
def test_a_batch_that_ranks_cannot_share(batch_size: int, rank: int, world: int) -> None:
    for draw in (
        lambda: sampler.language_batch(TOKENS, 1, 0, batch_size, 8, rank, world),
        lambda: sampler.row_batch(10, 1, 0, batch_size, rank, world),
    ):
        with pytest.raises(ValueError, match="cannot take its share"):
            draw()


def test_text_shorter_than_a_window() -> None:
    assert sampler.language_batch(TOKENS[:9], 1, 0, 2, 8).shape == (2, 9)
    with pytest.raises(ValueError, match="8 tokens are too few for windows of 9"):
        sampler.language_batch(TOKENS[:8], 1, 0, 2, 8)


def test_neighbouring_seeds_and_counters_are_unrelated() -> None:
    draws = {tuple(sampler.row_batch(30, seed, step, 30).tolist()) for seed, step in itertools.product(range(10), range(10))}
    assert len(draws) == 100
