"""Digits as images, sentences and recordings: how they are made, read, split and put together."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.data import documents, shards
from pipeline.data.digits import CLASSES, mel, prepare, raw, recordings, speech, waves
from pipeline.data.documents import Document
from pipeline.errors import UserError
from pipeline.paths import SPLITS
from pipeline.schema.data import DigitsDataset, FsddAudio, SyntheticAudio
from tests.unit.data import archives

RATE = 8000


def block(**changes) -> DigitsDataset:
    given = {"kind": "digits", "audio": {"kind": "synthetic", "speakers": 3, "takes": 1}, "sentences": 800, "typos": 0.0}
    return DigitsDataset.model_validate({**given, **changes})


def tone(hertz: float, seconds: float = 0.4) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set, raw and ready."""
    folder = tmp_path_factory.mktemp("digits")
    documents.write(folder / "documents.jsonl", raw.fetch(block(), 1, folder).documents)
    summary = prepare.prepare("digits", folder / "documents.jsonl", block(), 1, lambda name: folder / name)
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_raw_digits_are_a_function_of_block_and_seed(made: Path, tmp_path: Path):
    again = list(raw.fetch(block(), 1, tmp_path).documents)
    assert again == list(documents.read(made / "documents.jsonl"))
    counts = {kind: sum(document.id.startswith(kind) for document in again) for kind in ("image/", "text/", "audio/")}
    assert counts == {"image/": 1797, "text/": 800, "audio/": 30}
    assert again != list(raw.fetch(block(), 2, tmp_path).documents)


def test_varied_voices_are_further_apart_and_have_silence_around_their_words():
    made = [list(speech.generate(SyntheticAudio(speakers=3, takes=1, variety=variety), 1).documents) for variety in (0.0, 1.0)]
    assert [document.id for document in made[0]] == [document.id for document in made[1]]
    seconds = [np.mean([len(waves.read(document.text, document.id)[0]) / RATE for document in found]) for found in made]
    assert 0.02 < seconds[1] - seconds[0] < 2 * speech.PAUSE
    pitched = speech.voice(np.random.default_rng(3))
    one, two = (speech.varied(pitched, 1.0, np.random.default_rng(seed)) for seed in (1, 2))
    assert one.pitch == two.pitch and one.tract != two.tract and one.accent["IY"] != two.accent["IY"] and one.hiss > pitched.hiss


def test_a_sentence_holds_its_digits_word_and_no_other(made: Path):
    for document in documents.read(made / "documents.jsonl"):
        if document.id.startswith("text/"):
            assert [word for word in document.text.split() if word in CLASSES] == [CLASSES[int(document.id.split("/")[1])]]


def test_splits_share_no_image_no_sentence_and_no_speaker(made: Path):
    tensors = {split: shards.open(made / f"{split}.safetensors") for split in SPLITS}
    for modality in ("image", "text"):
        seen = [{row.tobytes() for row in tensors[split][modality]} for split in SPLITS]
        assert sum(map(len, seen)) == len(set.union(*seen)) and min(map(len, seen)) > 10
    assert [len(tensors[split]["audio"]) for split in SPLITS] == [10, 10, 10]  # a speaker each, who says ten digits


def test_every_sample_is_of_one_class_and_every_row_occurs(made: Path):
    for split in SPLITS:
        tensors = shards.open(made / f"{split}.safetensors")
        for modality in ("image", "text", "audio"):
            rows = tensors[f"{modality}.row"]
            assert (tensors[f"{modality}.label"][rows] == tensors["label"]).all()
            assert set(rows.tolist()) == set(range(len(tensors[modality])))


def test_the_description_has_shapes_and_statistics_of_the_training_split(made: Path):
    described = {each["name"]: each for each in json.loads((made / "summary.json").read_text())["features"]}
    train = shards.open(made / "train.safetensors")
    assert described["image"]["shape"] == [8, 8] and described["audio"]["shape"] == [mel.FRAMES, mel.BANDS]
    assert described["image"]["mean"] == pytest.approx(train["image"].mean(), abs=1e-3)
    assert (described["text"]["mean"], described["text"]["deviation"]) == (0.0, 1.0)
    assert described["text"]["shape"] == [train["text"].shape[1]]


def test_a_higher_tone_is_in_a_higher_band_and_loudness_does_not_matter():
    loudest = [mel.levels(tone(hertz), RATE).mean(0).argmax() for hertz in (200, 500, 1000, 2000, 3500)]
    assert loudest == sorted(set(loudest))
    assert np.abs(mel.levels(tone(800), RATE).astype(int) - mel.levels(0.1 * tone(800), RATE)).max() <= 1


@pytest.mark.parametrize("samples", [1, 100, 5000, 16000])
def test_any_length_gives_the_same_shape(samples: int):
    levels = mel.levels(np.random.default_rng(1).uniform(-1, 1, samples).astype(np.float32), RATE)
    assert levels.shape == (mel.FRAMES, mel.BANDS) and 0 <= levels.min() < mel.MIDDLE < levels.max() <= mel.TOP
    assert levels.mean() == pytest.approx(mel.MIDDLE, abs=1) and levels.std() == pytest.approx(mel.SPREAD, rel=0.05)


def test_silence_is_no_error():
    assert (mel.levels(np.zeros(4000, np.float32), RATE) == mel.MIDDLE).all()


def test_a_recording_goes_through_text():
    samples, rate = waves.read(waves.to_text(waves.to_wav(tone(300), RATE)), "a recording")
    assert rate == RATE and np.abs(samples - tone(300)).max() < 1e-4


@pytest.mark.parametrize("text", ["", "data:audio/wav;base64,AAAA", "data:audio/wav;base64,?"])
def test_what_is_no_recording_is_refused_by_name(text: str):
    with pytest.raises(UserError, match="audio/3/bob/01 is not a WAV file"):
        waves.read(text, "audio/3/bob/01")


def test_what_is_no_graymap_is_refused_by_name():
    with pytest.raises(UserError, match=r"image/1/00001 is no plain graymap"):
        prepare.pixels(prepare.Item("", 1, "image/1/00001", "P5 8 8 16"))


def archive_of(folder: Path, names: list[str]) -> FsddAudio:
    """A mirrored archive of tones, and the source that pins its recordings."""
    found = {f"fsdd/recordings/{name}": waves.to_wav(tone(200 + 10 * i), RATE) for i, name in enumerate(names)}
    file = archives.make(folder / "mirror" / recordings.MIRRORED, found)
    return FsddAudio(kind="fsdd", url="https://example.org/archive/abc.tar.gz", sha256=recordings.digest(file, "it"))


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("QUINTET_MIRROR", str(tmp_path / "mirror"))
    return tmp_path


def test_recordings_are_pinned_by_their_contents_whatever_the_archive(mirror: Path):
    source = archive_of(mirror, ["3_anna_0.wav", "3_anna_11.wav", "0_bob_2.wav"])
    found = list(recordings.fetch(source, mirror / "downloads").documents)
    assert [document.id for document in found] == ["audio/0/bob/02", "audio/3/anna/00", "audio/3/anna/11"]
    other = archives.make(
        mirror / "other.tar.gz",
        {f"x/{n}": waves.to_wav(tone(200 + 10 * i), RATE) for i, n in enumerate(["3_anna_0.wav", "3_anna_11.wav", "0_bob_2.wav"])},
    )
    assert recordings.digest(other, "other") == source.sha256


def test_recordings_that_are_not_the_pinned_ones_are_refused(mirror: Path):
    source = archive_of(mirror, ["3_anna_0.wav"]).model_copy(update={"sha256": "0" * 64})
    with pytest.raises(UserError, match=r"have SHA-256 [0-9a-f]{64}, but 0{64} is pinned"):
        recordings.fetch(source, mirror / "downloads")
    assert not list((mirror / "downloads").glob("fsdd-*.part"))


def test_recordings_of_other_names_are_refused(mirror: Path):
    source = archive_of(mirror, ["hello.wav"])
    with pytest.raises(UserError, match=r"hello.wav in https://example.org/archive/abc.tar.gz is not named digit_speaker_index.wav"):
        list(recordings.fetch(source, mirror / "downloads").documents)


def test_a_class_without_any_data_in_a_split_is_refused(tmp_path: Path):
    documents.write(tmp_path / "raw.jsonl", [Document("image/0/00000", "P2 1 1 16 3")])
    with pytest.raises(UserError, match="split is empty"):
        prepare.prepare("digits", tmp_path / "raw.jsonl", block(modalities=["image"]), 1, lambda name: tmp_path / name)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"modalities": ["audio", "image"]}, "name each once, in the order image, text, audio"),
        ({"modalities": ["image", "image"]}, "name each once"),
        ({"split": {"method": "contiguous"}}, "must not be torn apart"),
        ({"split": {"method": "documents", "test": 0.0}}, "split.test must be above 0"),
    ],
)
def test_impossible_blocks_are_refused(changes: dict, sentence: str):
    with pytest.raises(ValidationError, match=sentence):
        block(**changes)
