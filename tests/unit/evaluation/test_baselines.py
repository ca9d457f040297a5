import bz2
import math
from collections import Counter

import numpy as np
import pytest

from pipeline.evaluation import baselines
from pipeline.evaluation.baselines import Bigram, Unigram, bits_per_byte, compressed_bits_per_byte

VOCABULARY = 7


@pytest.fixture
def text():
    """Token 6 never occurs, and token 5 occurs at the very end only, so that nothing follows it."""
    random = np.random.default_rng(1)
    return np.append(random.integers(0, 5, 400) // random.integers(1, 3, 400), 5).astype(np.uint16)


def brute_unigram(text, token):
    return (Counter(text.tolist())[token] + 1) / (len(text) + VOCABULARY)


def brute_bigram(text, a, b):
    pairs = Counter(zip(text[:-1].tolist(), text[1:].tolist(), strict=True))
    followers = {second for first, second in pairs if first == a}
    total = sum(count for (first, _), count in pairs.items() if first == a)
    if total == 0:
        return brute_unigram(text, b)
    return (pairs[a, b] + len(followers) * brute_unigram(text, b)) / (total + len(followers))


def test_unigram_is_the_count_plus_one(text):
    model = Unigram.fit(text, VOCABULARY)
    assert model.losses(np.arange(VOCABULARY)) == pytest.approx([-math.log(brute_unigram(text, t)) for t in range(VOCABULARY)])


@pytest.mark.parametrize("part", [1 << 22, 7, 400])
def test_bigram_is_the_brute_force_count(text, part, monkeypatch):
    """Also where the text is counted part by part."""
    monkeypatch.setattr(baselines, "PART", part)
    model = Bigram.fit(text, VOCABULARY)
    a, b = np.meshgrid(np.arange(VOCABULARY), np.arange(VOCABULARY), indexing="ij")
    expected = [[-math.log(brute_bigram(text, i, j)) for j in range(VOCABULARY)] for i in range(VOCABULARY)]
    assert model.losses(a, b) == pytest.approx(np.array(expected))


def test_both_are_distributions(text):
    a, b = np.meshgrid(np.arange(VOCABULARY), np.arange(VOCABULARY), indexing="ij")
    assert np.exp(-Bigram.fit(text, VOCABULARY).losses(a, b)).sum(1) == pytest.approx(1)
    assert Unigram.fit(text, VOCABULARY).probability_V.sum() == pytest.approx(1)


def test_large_vocabularies_need_no_square_table():
    tokens = np.array([0, 4_000_000_000, 7, 0, 4_000_000_000], dtype=np.uint32)[[0, 2, 0, 2, 0]]
    model = Bigram.fit(tokens, 1_000_000)
    assert len(model.pairs) == 2


def test_bits_per_byte_counts_all_tokens_of_all_bytes():
    assert bits_per_byte(2.0, tokens=100, utf8_bytes=400) == pytest.approx(2.0 / math.log(2) / 4)


def test_compressor_measures_utf8():
    text = "größer als groß " * 50
    assert compressed_bits_per_byte(text) == 8 * len(bz2.compress(text.encode(), 9)) / len(text.encode())
