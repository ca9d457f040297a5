"""params.yaml: each mistake stops with one sentence that names key, value and remedy; a stage sees only what it declares."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import config as configuration
from pipeline.errors import UserError
from tests.workspace import PROJECT

PARAMETERS = yaml.safe_load((PROJECT / "presets/smoke.yaml").read_text())


def changed(key: str, value: Any) -> dict[str, Any]:
    """The parameters of `smoke` with one key set, or removed where the value is `...`."""
    parameters = copy.deepcopy(PARAMETERS)
    *parents, last = key.split(".")
    block = parameters
    for parent in parents:
        block = block[parent]
    if value is ...:
        del block[last]
    else:
        block[last] = value
    return parameters


MISTAKES = {
    "models.calculator.training.learning_rat": (0.1, "is not a known key: did you mean 'learning_rate'?"),
    "models.calculator.architecture.hiden_size": (8, "is not a known key: did you mean 'hidden_size'?"),
    "datasets.plays.source.sha": ("0", "is not a known key: did you mean 'sha256'?"),
    "models.calculator.zzz": (1, "is not a known key: known here are architecture, champion, dataset"),
    "sed": (1, "is not a known key: did you mean 'seed'?"),
    "models.calculator.training.steps": ("many", "= 'many': input should be a valid integer"),
    "models.calculator.training.learning_rate": (-1.0, "= -1.0: input should be greater than 0"),
    "models.calculator.training.precision": ("float16", "= 'float16': input should be 'float32' or 'bfloat16'"),
    "models.calculator.architecture.num_hidden_layers": (0, "= 0: input should be greater than 0"),
    "models.calculator.architecture.dropout": (True, "= True: input should be a valid number"),
    "models.calculator.formats": (["gguuf"], "there is no format 'gguuf': did you mean 'gguf'?"),
    "models.calculator.dataset": ("playz", "= 'playz' is not under datasets: choose one of ['arithmetic', 'digits', 'plays']"),
    "models.calculator.family": ("perceptron", "family = 'perceptron': input should be"),
    "datasets.plays.source.kind": ("ftp", "source.kind = 'ftp': choose one of"),
    "datasets.plays.source.sha256": ("abc", "= 'abc': string should match pattern"),
    "seed": (-1, "seed = -1: input should be greater than or equal to 0"),
    "models.calculator.training": (..., "models.calculator.training is missing: add it"),
    "datasets.plays.source.version": (..., "source.version is missing: add it"),
    "models": ({}, "models = {}: dictionary should have at least 1 item"),
}
IMPOSSIBLE = {
    "models.calculator.architecture.num_attention_heads": (3, "num_attention_heads = 3 does not divide hidden_size = 32: choose one of"),
    "models.calculator.architecture.num_key_value_heads": (5, "num_key_value_heads = 5 does not divide num_attention_heads = 2"),
    "models.calculator.architecture.head_dim": (7, "even head_dim"),
    "models.calculator.training.warmup_steps": (60, "warmup_steps (60) must be below steps (60)"),
    "models.shakespeare.quantization.method": ("qat", "models.shakespeare.quantization: method 'qat' needs a block `training`"),
    "models.calculator.quantization.method": ("mse", "models.calculator.quantization: method 'mse' takes no block `training`"),
    "models.shakespeare.quantization.levels": (6, "models.shakespeare.quantization.levels"),
    "models.shakespeare.quantization.final_steps": (5, "quantization: method 'mse' needs a block `training`"),
    "models.calculator.quantization.mask_width": (1.5, "mask_width = 1.5: input should be greater than or equal to 2"),
    "models.pentary.architecture.fusion": ("gated", "fusion = 'gated', but the format processor knows concat and add only"),
    "models.pentary.quantization.levels": (
        7,
        "the format processor knows digits of up to 5 levels: set quantization.levels to",
    ),
    "datasets.plays.split": ({"validation": 0.6, "test": 0.6}, "validation + test is 1.2: leave something below 1 for training"),
    "datasets.plays.split.validation": (0.0, "validation must be above 0"),
    "datasets.arithmetic.minimum": (30, "datasets.arithmetic: minimum (30) is above maximum (20)"),
    "datasets.arithmetic.sampling": ("balanced", "datasets.arithmetic: sampling: balanced needs examples"),
}


@pytest.mark.parametrize("key", [*MISTAKES, *IMPOSSIBLE])
def test_a_mistake_is_one_sentence_with_key_value_and_remedy(key):
    value, sentence = {**MISTAKES, **IMPOSSIBLE}[key]
    with pytest.raises(UserError) as caught:
        configuration.parse(changed(key, value), "params.yaml")
    message = str(caught.value)
    assert message.startswith("params.yaml: ") and "\n" not in message
    assert sentence in message
    assert ".".join(key.split(".")[:2]) in message


def test_several_mistakes_are_counted():
    parameters = changed("models.calculator.training.steps", "many")
    parameters["seed"] = "x"
    with pytest.raises(UserError, match=r"\(and 1 more\)$"):
        configuration.parse(parameters, "params.yaml")


@pytest.mark.parametrize("text, sentence", [("a: [1", "is not valid YAML"), ("", "input should be"), (None, "there is no")])
def test_a_file_that_cannot_be_read_is_named(tmp_path, text, sentence):
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=sentence) as caught:
        configuration.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("path", sorted((PROJECT / "presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_preset_is_valid(path: Path):
    loaded = configuration.load(path)
    assert {model.dataset for model in loaded.models.values()} == set(loaded.datasets), "each data set has a model that learns from it"


def test_a_name_that_no_list_has_brings_its_neighbour():
    assert str(configuration.unknown_target("model", "calculater", ["calculator", "shakespeare"])).endswith("did you mean 'calculator'?")
    assert "it has ['calculator']" in str(configuration.unknown_target("model", "x", ["calculator"]))


@pytest.fixture
def config() -> configuration.Config:
    return configuration.parse(PARAMETERS, "params.yaml")


def test_a_stage_reads_what_it_declares(config):
    view = configuration.restrict(config, "train", "calculator")
    assert view.models["calculator"].training.steps == 60
    assert view.models["calculator"].dataset == "arithmetic"
    assert view.seed == 7


@pytest.mark.parametrize(
    "stage, read, key",
    [
        ("train", lambda view: view.models["calculator"].quantization, "models.calculator.quantization"),
        ("train", lambda view: view.models["shakespeare"].training, "models.shakespeare"),
        ("train", lambda view: view.datasets, "datasets"),
        ("quantize", lambda view: view.models["calculator"].training.threads, "models.calculator.training"),
        ("evaluate", lambda view: view.models["calculator"].training.steps, "models.calculator.training"),
    ],
)
def test_reading_an_undeclared_key_is_an_error(config, stage, read, key):
    with pytest.raises(LookupError, match=f"stage {stage} reads {key}, which"):
        read(configuration.restrict(config, stage, "calculator"))


def test_selected_values_have_their_defaults(config):
    selected = configuration.select(config, "train", "calculator")
    assert list(selected) == list(configuration.keys("train", "calculator"))
    assert selected["models.calculator.training"]["steps"] == 60
    assert selected["models.calculator.training"]["optimizer"] == "adamw"


def test_values_do_not_change(config):
    with pytest.raises(ValueError, match="frozen"):
        config.models["calculator"].training.steps = 3


def test_nested_values_flatten_to_dotted_keys():
    assert configuration.flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": 3}) == {"a.b": 1, "a.c.d": [2], "e": 3}


@pytest.mark.parametrize("name", ["nothing", "../params", ""])
def test_an_unknown_preset_brings_the_list(name, monkeypatch):
    monkeypatch.chdir(PROJECT)
    with pytest.raises(UserError, match=r"choose one of default, .*smoke"):
        configuration.preset(name)


@pytest.mark.parametrize(
    "text, message", [("[" * 100_000, "it is nested too deeply"), ("seed: 2001-99-99", "month must be in 1..12"), ("a: [", "while parsing")]
)
def test_yaml_that_is_none_is_one_sentence(text, message):
    with pytest.raises(UserError, match=f"^here is not valid YAML: .*{message}") as refused:
        configuration.parse_text(text, "here")
    assert len(str(refused.value).splitlines()) == 1
