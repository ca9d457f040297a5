"""The judge of classifiers: figures of a model that knows, and of one that is wrong where we say."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import evaluation
from pipeline.data import features, shards
from pipeline.data.digits import CLASSES
from pipeline.models.base import Model
from pipeline.report.page import _detail
from pipeline.schema.models import Evaluation
from pipeline.tracking import pictures
from tests.unit.models.digits import architecture, configuration, ready


class Knowing(Model):
    """Finds the image among the test split's and says its class, or, for class 3, eight; without an image it says zero."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        shard = shards.open(folder / "test.safetensors")
        self.known = {row.astype(np.float32).tobytes(): int(label) for row, label in zip(shard["image"], shard["image.label"], strict=True)}
        self.layout = features.layout(configuration(architecture())["quintet"])

    def forward(self, inputs, state=None):
        _, parts = features.split(inputs, self.layout)
        said = [self.known.get(image.numpy().tobytes(), 0) for image in parts[0]]
        given = torch.tensor([8 if label == 3 else label for label in said])
        return 9.0 * torch.nn.functional.one_hot(given, len(CLASSES))[:, None], None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("judge") / "ready"
    ready(root)
    return root


@pytest.fixture(scope="module")
def judge(folder: Path):
    return evaluation.judge(configuration(architecture()), folder, Evaluation(), seed=1)


def test_figures_of_a_model_that_sees_images_only(judge, folder: Path):
    figures = judge.verdict(Knowing(folder)).figures
    assert figures["accuracy"] == 0.9 and figures["samples"] == 40
    assert figures["accuracy_low"] < 0.9 < figures["accuracy_high"]
    expected = {"image": 0.9, "text": 0.1, "audio": 0.1, "image_and_text": 0.9, "image_and_audio": 0.9, "text_and_audio": 0.1}
    assert figures["subsets"] == {f"accuracy_{name}": value for name, value in expected.items()}


def test_the_rows_make_a_confusion_matrix_in_the_report_and_as_a_picture(judge, folder: Path, tmp_path: Path):
    verdict = judge.verdict(Knowing(folder))
    rows = judge.table({"float": verdict, "quantized": verdict})
    assert len(rows) == 40 and rows[0] == {"actual": "zero", "float": "zero", "quantized": "zero"}
    found = _detail(rows)
    assert found["columns"] == ["actual", *CLASSES]
    assert [text for text, _ in found["rows"][3]] == ["three", "", "", "", "", "", "", "", "", "4", ""]
    assert [text for text, _ in found["rows"][8]] == ["eight", "", "", "", "", "", "", "", "", "4", ""]
    file = tmp_path / "evaluate.csv"
    file.write_text("actual,quantized\n" + "".join(f"{row['actual']},{row['quantized']}\n" for row in rows))
    (picture,) = pictures.draw(file, tmp_path)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_baselines_are_better_than_nothing(judge):
    found = judge.baselines()
    assert found["majority_class"]["accuracy"] == 0.1
    assert found["logistic_regression"]["accuracy"] > 0.7


def test_samples_say_what_is_wrong(judge, folder: Path):
    model = Knowing(folder)
    text = judge.samples({"float": (model, judge.verdict(model))})
    assert text.startswith("=== float ===\n36 of 40 held-out samples right\n")
    assert text.count("wrong  eight (it is three)") == 4
