"""A short run of the fuzzer over every loader, and what it finds in loaders that are wrong."""

import random

import pytest

from tests.fuzz import seeds
from tests.fuzz.fuzzer import Fuzzer
from tests.fuzz.loaders import LOADERS, MODULE
from tests.fuzz.mutations import mutate

EACH = 200
FOUND = {
    "raises": "KeyError: 'a'",
    "hangs": "took too long",
    "eats": "MemoryError",
    "dies": "the process died",
    "refuses_in_lines": "is no sentence",
    "names_nothing": "names no file: it is wrong",
}


@pytest.mark.slow
def test_every_loader_reads_or_refuses():
    chosen = [name for name, loader in LOADERS.items() if not loader.heavy]
    with Fuzzer(MODULE, chosen) as fuzzer:
        findings = list(fuzzer.cases(EACH))
    assert [f"--case {finding.loader} {finding.case}: {finding.what}" for finding in findings] == []
    for name in chosen:
        assert fuzzer.outcomes[name, "read"] and fuzzer.outcomes[name, "refused"], f"{name}: the damage is too much, or none"


def test_what_is_wrong_is_found():
    with Fuzzer("tests.fuzz.wrong_loaders", list(FOUND), patience=10.0) as fuzzer:
        for what, sentence in FOUND.items():
            finding = fuzzer.run(what, 0)
            assert finding is not None and sentence in finding.what


@pytest.mark.parametrize("kind", ["shard", "dataset", "documents", "archive", "parameters"])
def test_damage_repeats_and_is_damage(kind, tmp_path):
    LOADERS[kind].make(tmp_path)
    path = next(tmp_path.iterdir())
    made, again = ([mutate(path.name, path.read_bytes(), random.Random(case)) for case in range(40)] for _ in range(2))
    assert made == again
    assert len(set(made)) > 30 and made.count(path.read_bytes()) < 5


def test_a_refusal_has_no_control_characters_and_an_end():
    error = str(seeds.UserError("x.json: name is a\n\x1b[2J" + "9" * 5000))
    assert error.startswith("x.json: name is a\\n\\x1b[2J99") and len(error) < 1100
