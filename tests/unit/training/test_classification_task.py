"""Classification: what a step learns from, and what is counted."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import models
from pipeline.data import features
from pipeline.schema.training import Training
from pipeline.training import augmentation, tasks
from pipeline.training.tasks import loss_sum
from tests.unit.models.digits import FEATURES, architecture, configuration, ready


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("classification") / "ready"
    ready(root)
    return root


def task(folder: Path, **settings):
    from pipeline import io

    block = Training.model_validate({"steps": 50, "warmup_steps": 2, "batch_size": 16, **settings})
    return tasks.of(folder, io.read_json(folder / "dataset.json"), block, 1, 11, False)


def test_a_batch_is_a_function_of_seed_and_step_alone(folder: Path):
    one, two = task(folder, augment=0.5), task(folder, augment=0.5)
    two.batch(7)
    assert torch.equal(one.batch(3).inputs, two.batch(3).inputs)
    assert not torch.equal(one.batch(3).inputs, one.batch(4).inputs)


def test_all_modalities_of_a_sample_are_of_its_class(folder: Path):
    subject = task(folder, modality_dropout=0.0)
    train = subject.samples["train"]
    batch = subject.batch(2)
    presence, parts = features.split(batch.inputs, subject.layout)
    assert presence.min() == 1
    for m, part in enumerate(parts):
        known = {row.numpy().tobytes(): i for i, row in enumerate(train.features[m].flatten(1))}
        rows = [known[row.numpy().tobytes()] for row in part.flatten(1)]
        own = [label for label, members in enumerate(train.members[m]) for row in rows if row in members]
        assert sorted(own) == sorted(batch.targets[:, 0].tolist())


def test_modality_dropout_leaves_at_least_one_and_never_all(folder: Path):
    presence, parts = features.split(task(folder, modality_dropout=1.0).batch(0).inputs, task(folder).layout)
    assert set(presence.sum(1).tolist()) == {1.0, 2.0}
    assert all(float(part[presence[:, m] == 0].abs().sum()) == 0 for m, part in enumerate(parts))


def test_an_epoch_takes_each_row_of_the_first_modality_once(folder: Path):
    subject = task(folder, modality_dropout=0.0, batch_size=8)
    images = torch.cat([features.split(subject.batch(step).inputs, subject.layout)[1][0] for step in range(5)])
    assert len({image.numpy().tobytes() for image in images}) == len({i.numpy().tobytes() for i in subject.samples["train"].features[0]})


def test_a_limit_takes_samples_of_all_classes(folder: Path):
    (batch,) = task(folder).whole("validation", 10)
    assert batch.inputs.shape[0] == 10 and len(batch.targets.unique()) >= 8


def test_accuracy_is_that_of_a_plain_count(folder: Path):
    subject = task(folder)
    module = models.create(configuration(architecture(image_channels=(), audio_channels=(), hidden_dims=(8,))), seed=1).eval()
    (batch,) = subject.whole("test")
    with torch.inference_mode():
        right = (module(batch.inputs)[0][:, 0].argmax(1) == batch.targets[:, 0]).double().mean()
        alone = [
            (module(features.only(batch.inputs, subject.layout, (m,)))[0][:, 0].argmax(1) == batch.targets[:, 0]).double().mean()
            for m in range(3)
        ]
    metrics = subject.evaluate(module, "test")
    assert metrics["accuracy"] == pytest.approx(float(right))
    assert metrics["accuracy_alone"] == pytest.approx(float(sum(alone)) / 3)


def test_a_small_network_learns_the_patterns(folder: Path):
    subject = task(folder, learning_rate=0.01)
    module = models.create(
        configuration(architecture(image_channels=(4,), audio_channels=(4,), embedding_dim=8, hidden_dims=(24,))), seed=2
    )
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01)
    for step in range(60):
        batch = subject.batch(step)
        loss = loss_sum(module(batch.inputs)[0], batch.targets) / len(batch.inputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert subject.evaluate(module.eval(), "test")["accuracy"] > 0.8


@pytest.mark.parametrize("index", range(3))
def test_augmentation_without_strength_changes_nothing_and_with_it_something(folder: Path, index: int):
    feature = features.layout({"features": list(FEATURES.values())})[index]
    x = task(folder).samples["train"].features[index]
    same = augmentation.augment(x, feature, 0.0, np.random.default_rng(1))
    other = augmentation.augment(x, feature, 1.0, np.random.default_rng(1))
    assert torch.allclose(same, x, atol=1e-3)
    assert other.shape == x.shape and not torch.allclose(other, x, atol=1.0)
    assert torch.equal(other, augmentation.augment(x, feature, 1.0, np.random.default_rng(1)))
