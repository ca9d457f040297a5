"""Speakers held out in turn: who is learned from and who is judged, and that the training is the preset's."""

import numpy as np
import pytest

from pipeline import paths
from pipeline.apps.pentary import speakers
from pipeline.data import shards
from pipeline.data.digits import recordings, waves
from pipeline.data.documents import Document
from pipeline.data.sources import Fetched
from pipeline.errors import UserError
from tests.workspace import PROJECT

NAMES = ("anna", "bob", "carl")


def spoken() -> speakers.Spoken:
    """Digits that each speaker says twice: a pattern of levels of its own, and a little noise."""
    chance = np.random.default_rng(0)
    patterns = chance.integers(0, 200, (10, 32, 32))
    labels = np.tile(np.arange(10, dtype=np.uint8), 2 * len(NAMES))
    levels = (patterns[labels] + chance.integers(0, 10, (len(labels), 32, 32))).astype(np.uint8)
    return speakers.Spoken(levels, labels, np.repeat(NAMES, 20))


def test_a_ready_data_set_is_without_its_speaker(tmp_path):
    made = spoken()
    dataset = speakers._write(tmp_path / "ready", made, "bob")
    train, test = (shards.open(tmp_path / f"ready/{split}.safetensors") for split in ("train", "test"))
    assert (len(train["audio"]), len(test["audio"])) == (40, 20) == (dataset["splits"]["train"]["tokens"], 20)
    own = {row.tobytes() for row in made.levels[made.speakers == "bob"]}
    assert {row.tobytes() for row in test["audio"]} == own and not own & {row.tobytes() for row in train["audio"]}
    assert (np.diff(test["label"].astype(int)) >= 0).all() and (test["audio.label"] == test["label"]).all()


def test_a_speaker_is_judged_by_what_the_others_taught(monkeypatch):
    monkeypatch.setattr(paths, "PRESETS", PROJECT / "presets")
    (found,) = speakers.held_out(spoken(), ["carl"], 1, steps=(20, 4))
    assert (found.speaker, found.recordings) == ("carl", 20)
    assert found.in_float > 0.3 and found.five_levels > 0.3


def test_nobody_is_refused_by_name(monkeypatch):
    silence = waves.to_text(waves.to_wav(np.zeros(800, np.float32), 8000))
    documents = [Document(f"audio/{digit}/{name}/00", silence) for name in NAMES for digit in range(10)]
    monkeypatch.setattr(recordings, "fetch", lambda source, downloads: Fetched(iter(documents), {}))
    with pytest.raises(UserError, match="--speaker dora is nobody: choose from anna, bob, carl"):
        speakers.show(1, ["dora"])
