"""The document's data folder, and the command that reads it: what is wrong is said with the file's name."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.apps import pentary_command as command
from pipeline.apps.pentary import folder, samples, training
from pipeline.errors import UserError


@pytest.fixture
def data(tmp_path) -> Path:
    """Twelve samples of three classes in all modalities."""
    chance = np.random.default_rng(0)
    np.save(tmp_path / "labels.npy", np.arange(12) % 3)
    np.save(tmp_path / "images.npy", chance.integers(0, 256, (12, 5, 6, 3), dtype=np.uint8))
    np.save(tmp_path / "audio.npy", chance.uniform(-1, 1, (12, 800)).astype(np.float32))
    np.save(tmp_path / "features.npy", chance.standard_normal((12, 4)))
    (tmp_path / "text.json").write_text(json.dumps([f"text {i % 3}" for i in range(12)]))
    return tmp_path


def test_files_are_read_as_they_are(data):
    found = folder.read(data, ["audio", "text", "image"], 3)
    assert found.y.tolist() == [0, 1, 2] * 4 and found.x["text"][4] == "text 1"
    assert np.array_equal(found.x["image"], np.load(data / "images.npy")) and found.x["audio"].shape == (12, 800)
    assert folder.read(data, [], 3).x.shape == (12, 4)


FAULTS = {
    "no labels": ("labels.npy", None, "labels.npy is missing"),
    "no modality": ("audio.npy", None, "audio.npy is missing: add it, or leave its modality out"),
    "a class that is none": ("labels.npy", np.arange(12) % 4, "labels.npy: label 3 is 3, but the model has the classes 0 to 2"),
    "a class without samples": ("labels.npy", np.arange(12) % 2, "labels.npy has no sample of class 2"),
    "labels of another type": ("labels.npy", np.zeros((12, 3)), r"labels.npy holds float64 \[12, 3\]"),
    "one sample less": ("images.npy", np.zeros((11, 5, 6, 3), np.uint8), "images.npy has 11 samples, but labels.npy has 12"),
    "images without channels": ("images.npy", np.zeros((12, 5, 6), np.uint8), r"images.npy holds \[12, 5, 6\]"),
    "images of two channels": ("images.npy", np.zeros((12, 5, 6, 2), np.uint8), r"images.npy: an image of shape \[5, 6, 2\] is none"),
    "either order": ("images.npy", np.zeros((12, 3, 6, 3), np.uint8), "images.npy: an image .* could have its channels first or last"),
    "floats above one": ("images.npy", np.full((12, 5, 6, 3), 1.5), "images.npy holds float64 from 1.5 to 1.5"),
    "not a number": ("images.npy", np.full((12, 5, 6, 3), np.nan), "images.npy holds float64"),
    "wide integers": ("images.npy", np.zeros((12, 5, 6, 3), np.int64), "images.npy holds int64"),
    "loud audio": ("audio.npy", np.full((12, 80), 2.0), "audio.npy holds numbers that are not from -1 to 1"),
    "integer audio": ("audio.npy", np.zeros((12, 80), np.int16), "audio.npy holds int16"),
    "objects": ("audio.npy", np.array([{}] * 12, dtype=object), "audio.npy is not an array of numbers"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(data, fault):
    name, value, says = FAULTS[fault]
    (data / name).unlink()
    if value is not None:
        np.save(data / name, value, allow_pickle=True)
    with pytest.raises(UserError, match=says):
        folder.read(data, ["text", "image", "audio"], 3)


@pytest.mark.parametrize("text", ['{"0": "a"}', "[1, 2]", "not json", '["a", null]'])
def test_texts_must_be_a_list_of_texts(data, text):
    (data / "text.json").write_text(text)
    with pytest.raises(UserError, match=r"text\.json is not"):
        folder.read(data, ["text"], 3)


def test_a_folder_must_be_there(tmp_path):
    with pytest.raises(UserError, match="nowhere is no folder"):
        folder.read(tmp_path / "nowhere", ["text"], 3)


def test_features_without_modalities(data):
    (data / "features.npy").unlink()
    with pytest.raises(UserError, match=r"features\.npy is missing: put features .* or say --multimodal"):
        folder.read(data, [], 3)


def test_each_class_is_held_out_and_nothing_twice(data):
    train, held_out = training.divided(folder.read(data, ["text"], 3), 5, seed=1)
    assert sorted(held_out.y.tolist()) == [0, 1, 2] and len(train.y) == 9
    assert all(text == f"text {label}" for part in (train, held_out) for text, label in zip(part.x["text"], part.y, strict=True))
    with pytest.raises(UserError, match="class 1 has only one sample"):
        training.divided(folder.Samples(np.zeros((3, 1)), np.array([0, 0, 1]), "samples"), 5, 0)


def test_synthetic_samples_share_nothing_with_the_held_out_ones():
    made = samples.digits(400, ["image", "text"], 0)
    assert (len(made.train.y), len(made.held_out.y)) == (320, 80)
    images = [{image.tobytes() for image in part.x["image"]} for part in made]
    assert images[0] & images[1] == set()
    assert all(samples.CLASSES[label] in text.split() for text, label in zip(made.train.x["text"], made.train.y, strict=True))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--n-samples", "20"], "--n-samples is 20: 10 classes need at least 50"),
        (["--epochs", "0"], "--epochs is 0: it must be at least 1"),
        (["--multimodal", "--output-dim", "3"], "--output-dim is 3, but the synthetic samples are ten digits"),
        (["--data-dir", "nowhere"], "nowhere is no folder"),
        (["--config", "nothing.json"], "nothing.json is missing"),
    ],
)
def test_mistakes_of_a_command_line(tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says):
        command.run(arguments)


def test_a_folder_of_other_features(data):
    with pytest.raises(UserError, match="--input-dim is 512, but the samples have 4 features: say --input-dim 4"):
        command.run(["--data-dir", str(data), "--output-dim", "3"])


def test_configuration_and_command_line(tmp_path):
    path = tmp_path / "options.json"
    path.write_text(json.dumps({"hidden_dims": [7, 5], "epochs": 3, "multimodal": True, "modalities": ["audio"]}))
    found = command.options(["--config", str(path), "--epochs", "4"])
    assert (found.hidden_dims, found.epochs, found.multimodal, found.modalities) == ([7, 5], 4, True, ["audio"])
    for text, says in (('{"epoch": 3}', "epoch is no option"), ("[]", "no JSON object"), ('{"resume": 1}', "must be true or false")):
        path.write_text(text)
        with pytest.raises(UserError, match=says):
            command.options(["--config", str(path)])


def test_resume_goes_on_and_the_same_command_repeats(tmp_path, monkeypatch, capsys):
    line = ["--input-dim", "6", "--output-dim", "3", "--n-samples", "60", "--hidden-dims", "5", "--epochs", "4", "--output-dir"]
    command.run([*line, str(tmp_path / "whole")])
    from pipeline.apps.pentary.learner import Learner

    learn, left = Learner.epoch, [3]

    def dying(self, *arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return learn(self, *arguments)

    monkeypatch.setattr(Learner, "epoch", dying)
    with pytest.raises(KeyboardInterrupt):
        command.run([*line, str(tmp_path / "parts")])
    left[0] = 1
    command.run([*line, str(tmp_path / "parts"), "--resume"])
    whole, parts = ((tmp_path / name).glob("*_history.json") for name in ("whole", "parts"))
    assert next(whole).read_bytes() == next(parts).read_bytes()
    assert "going on after epoch 3" in capsys.readouterr().err
