"""What MLflow serves: every task's packed model by `pipeline.apps.served`, and its form by `pipeline.tracking.logged`."""

from pathlib import Path

import pytest
import torch

from pipeline import quantization
from pipeline.apps import served
from pipeline.data import features
from pipeline.data.digits import CLASSES
from pipeline.errors import UserError
from pipeline.tracking import logged
from tests.unit.apps import small_packed, small_speaker
from tests.unit.models import digits


@pytest.fixture(scope="module")
def directories(tmp_path_factory) -> dict[str, Path]:
    return small_packed.write(tmp_path_factory.mktemp("packed"))


def test_a_language_model_goes_on_from_each_prompt(directories):
    model = served._load_pyfunc(str(directories["language"]))
    greedy = model.predict(["the cat", "a dog"], {"max_tokens": 20, "temperature": 0.0})
    assert greedy == [small_speaker.greedy(directories["language"], prompt, 20) for prompt in ("the cat", "a dog")]
    drawn = [model.predict(prompts, {"max_tokens": 20, "temperature": 1.0, "seed": 4})[-1] for prompts in (["a dog"], ["the cat", "a dog"])]
    assert drawn[0] == drawn[1], "a text does not depend on the prompts beside it"
    assert drawn[0] != model.predict(["a dog"], {"max_tokens": 20, "temperature": 1.0, "seed": 5})[0]


@pytest.mark.parametrize(
    ("prompt", "parameters", "sentence"),
    [
        ("CAT", {}, r"does not know 'C' \(U\+0043\), 'A'"),
        ("", {}, "at least one character"),
        ("a", {"max_tokens": 0}, "max_tokens must be 1 or more"),
        ("a", {"temperature": -1.0}, "temperature and top_k 0 or more"),
    ],
)
def test_what_a_language_model_refuses(directories, prompt, parameters, sentence):
    with pytest.raises(UserError, match=sentence):
        served._load_pyfunc(str(directories["language"])).predict([prompt], parameters)


def test_a_calculator_answers_problems(directories):
    model = served._load_pyfunc(str(directories["arithmetic"]))
    answers = model.predict(["12+3=", "20-1", "12+3="])
    assert len(answers) == 3 and answers[0] == answers[2] and all(answers)
    with pytest.raises(UserError, match="'x' at position 2"):
        model.predict(["1+1=", "1x1="])


def test_a_classifier_takes_any_of_its_modalities(directories):
    model = served._load_pyfunc(str(directories["classification"]))
    inputs = digits.samples(1)
    layout = features.layout(digits.configuration(digits.architecture(**small_packed.SMALL))["quintet"])
    _, (image, _, audio) = features.split(inputs, layout)
    module = quantization.load(directories["classification"])
    with torch.inference_mode():
        probability = module(features.only(inputs, layout, [0, 2]))[0][0, 0].softmax(-1)
    (given,) = model.predict(table(image=image[0].tolist(), audio=audio[0].numpy()))
    assert given == {"class": CLASSES[int(probability.argmax())], "probability": pytest.approx(float(probability.max()))}
    several = model.predict({"text": ["seven", None, float("nan")], "image": [None, image[0].tolist(), image[0].tolist()]})
    assert several[1] == several[2] != several[0]
    with pytest.raises(UserError, match="a row has none of image, text, audio"):
        model.predict(table(text=None))
    with pytest.raises(UserError, match="image is 8 x 7 numbers, not 8 x 8"):
        model.predict(table(image=[[0.0] * 7] * 8))


def table(**columns: object) -> dict:
    """One row."""
    return {name: [value] for name, value in columns.items()}


@pytest.mark.parametrize("task", ["language", "arithmetic", "classification"])
def test_the_example_of_a_form_can_be_answered(directories, task):
    form = logged.form(directories[task], None)
    model = served._load_pyfunc(str(directories[task]))
    example, parameters = form.example if isinstance(form.example, tuple) else (form.example, {})
    answers = model.predict(table(**example[0]) if task == "classification" else example, parameters)
    assert len(answers) == 1 and form.signature.outputs is not None
