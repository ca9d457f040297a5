import itertools
import math

import numpy as np
import pytest
import torch

from pipeline import io
from pipeline.data import shards, tokenizers, windows
from pipeline.errors import UserError
from pipeline.evaluation.language import Judge, losses
from pipeline.schema.models import Evaluation
from tests.unit.evaluation.toys import Table

TEXT = "der mann der den weg wagt\n" * 7 + "werden"
CONTEXT = 8


@pytest.fixture
def ready(tmp_path):
    """Ready data whose three splits are the same short text."""
    tokenizer = tokenizers.characters(TEXT)
    tokenizer.save(tmp_path / "tokenizer.json", tmp_path / "tokenizer_config.json")
    for split in ("train", "validation", "test"):
        shards.write(tmp_path / f"{split}.safetensors", {"tokens": tokenizer.encode_array(TEXT).astype(np.uint16)})
    totals = {"tokens": len(TEXT), "bytes": len(TEXT), "sha256": "0" * 64}
    described = {"kind": "language", "name": "text", "vocab_size": tokenizer.vocab_size, "source": {"kind": "local"}}
    io.write_json(tmp_path / "dataset.json", {**described, "splits": dict.fromkeys(("train", "validation", "test"), totals)})
    return tmp_path


@pytest.fixture
def config(ready):
    size = tokenizers.load(ready).vocab_size
    return {"vocab_size": size, "max_position_embeddings": CONTEXT, "quintet": {"task": "language", "family": "transformer"}}


@pytest.fixture
def table(config):
    size = config["vocab_size"]
    return Table(torch.randn(size, size, generator=torch.Generator().manual_seed(3)), CONTEXT)


def nats(table, ready):
    """Loss of every token of the text but the first, one by one."""
    ids = tokenizers.load(ready).encode(TEXT)
    logs = table.table.double().log_softmax(-1)
    return [-float(logs[a, b]) for a, b in itertools.pairwise(ids)]


def test_every_token_but_the_first_counts_once(ready, config, table):
    verdict = Judge(config, ready, Evaluation(), 1).verdict(table)
    expected = sum(nats(table, ready)) / (len(TEXT) - 1)
    assert (len(TEXT) - 1) % CONTEXT != 0, "the text must leave a shorter window"
    assert verdict.figures["loss"] == pytest.approx(expected, rel=1e-6)
    assert verdict.figures["perplexity"] == pytest.approx(math.exp(expected), rel=1e-6)
    assert verdict.figures["bits_per_byte"] == pytest.approx(expected / math.log(2), rel=1e-6)


def test_table_has_the_loss_by_position(ready, config, table):
    judge = Judge(config, ready, Evaluation(), 1)
    rows = judge.table({"float": judge.verdict(table), "quantized": judge.verdict(table)})
    each = nats(table, ready)[: (len(TEXT) - 1) // CONTEXT * CONTEXT]
    assert [row["position"] for row in rows] == list(range(1, CONTEXT + 1))
    assert [row["float"] for row in rows] == pytest.approx(np.array(each).reshape(-1, CONTEXT).mean(0), rel=1e-6)
    assert [row["float"] for row in rows] == [row["quantized"] for row in rows]


def test_a_limit_takes_windows_from_the_whole_split(ready, config, table):
    judge = Judge(config, ready, Evaluation(windows=2), 1)
    (part,) = judge.parts
    ids = np.array(tokenizers.load(ready).encode(TEXT))
    last = ((len(TEXT) - 1) // CONTEXT - 1) * CONTEXT
    assert part.tolist() == [ids[: CONTEXT + 1].tolist(), ids[last : last + CONTEXT + 1].tolist()]


def test_memory_bound_changes_nothing(ready, config, table):
    full = windows.full(np.array(tokenizers.load(ready).encode(TEXT)), CONTEXT).copy()
    assert losses(table, full, 1, CONTEXT) == pytest.approx(losses(table, full, 100, CONTEXT))


def test_baselines_are_judged_on_the_same_tokens(ready, config):
    found = Judge(config, ready, Evaluation(), 1).baselines()
    ids = tokenizers.load(ready).encode(TEXT)
    shares = (np.bincount(ids, minlength=config["vocab_size"]) + 1) / (len(ids) + config["vocab_size"])
    assert found["unigram"]["loss"] == pytest.approx(-np.log(shares[ids[1:]]).mean())
    assert found["bigram"]["loss"] < found["unigram"]["loss"]
    assert set(found["bzip2"]) == {"bits_per_byte"}


def test_samples_go_on_from_the_prompt_and_repeat(ready, config, table):
    judge = Judge(config, ready, Evaluation(prompt="weg ", new_tokens=20), seed=5)
    text = judge.samples({"float": (table, judge.verdict(table))})
    head, sample = text.split("\n", 1)
    assert head == "=== float ==="
    assert sample.startswith("weg ")
    assert text == judge.samples({"float": (table, judge.verdict(table))})
    other = Judge(config, ready, Evaluation(prompt="weg ", new_tokens=20), seed=6)
    assert text != other.samples({"float": (table, other.verdict(table))})


def test_without_a_prompt_samples_go_on_from_the_split(ready, config):
    judge = Judge(config, ready, Evaluation(), 1)
    assert tokenizers.load(ready).decode(judge.prompt) == TEXT[: len(judge.prompt)]


def test_a_prompt_with_an_unknown_character_is_an_error_that_names_it(ready, config):
    with pytest.raises(UserError, match=r"evaluation\.prompt = 'weg!': character '!'.* position 4"):
        Judge(config, ready, Evaluation(prompt="weg!"), 1)
