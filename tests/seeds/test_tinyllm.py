"""`tinyllm_py.md`: its configuration, each field of which acts; its tokenizer, data set, model and training."""

import json
import sys
from dataclasses import MISSING, asdict, fields
from pathlib import Path

import pytest
import torch

from pipeline import __main__, models
from pipeline.apps import tinyllm, tinyllm_data
from pipeline.apps.tinyllm import CharacterTokenizer, TextDataset, TrainingConfig, TransformerModel, generate, load_dataset, load_text
from pipeline.data import tokenizers
from pipeline.errors import UserError

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
QUICK = {"epochs": 1, "batch_size": 4, "max_context": 16, "sample_frequency": 0, "console_max_tokens": 20}
DOCUMENT = {
    "epochs": int,
    "batch_size": int,
    "learning_rate": float,
    "max_context": int,
    "gradient_clip": float,
    "val_split": float,
    "sample_frequency": int,
    "temperature": float,
    "console_max_tokens": int,
    "console_temperature": float,
    "console_top_k": int,
}
RHYME = "The cat sat on the mat,  and looked at\tthe hat;\n\n\n\nThe rat ran off with that.  \nNobody knew what the cat had in view.\n"


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "rhyme.txt"
    path.write_text(RHYME * 12)
    return path


def train(file, output, **changed):
    return tinyllm.train(file, TrainingConfig(**{**QUICK, **changed}), output, SIZES, verbose=False)


def weights(directory: Path) -> torch.Tensor:
    return models.read_tensors(directory / "model.safetensors")["model.embed_tokens.weight"]


def test_fields_are_the_documents():
    assert {field.name: type(getattr(TrainingConfig(), field.name)) for field in fields(TrainingConfig)} == DOCUMENT
    assert list(DOCUMENT) == [field.name for field in fields(TrainingConfig)]
    assert all(field.default is not MISSING for field in fields(TrainingConfig))


@pytest.mark.parametrize("name", DOCUMENT)
def test_a_wrong_value_is_named(name):
    with pytest.raises(UserError, match=rf"^TrainingConfig\.{name} = -1: input should be greater than"):
        TrainingConfig(**{name: -1})


def test_epochs_act(file, tmp_path):
    one, three = train(file, tmp_path / "one"), train(file, tmp_path / "three", epochs=3)
    windows = len(load_dataset(file, TrainingConfig(**QUICK)).splits["train"]) // 16
    assert one["steps"] == -(-windows // 4) and three["steps"] == 3 * one["steps"]


def test_batch_size_acts(file):
    for size in (4, 8):
        config = TrainingConfig(**{**QUICK, "batch_size": size})
        batches = list(load_dataset(file, config).batches(config))
        assert {tuple(batch.inputs.shape) for batch in batches} == {(size, 16)}
        assert len(batches) == {4: 19, 8: 10}[size]


def test_learning_rate_acts(file, tmp_path):
    slow, fast = train(file, tmp_path / "slow", learning_rate=1e-5), train(file, tmp_path / "fast", learning_rate=1e-2)
    assert fast["train"]["loss"] < slow["train"]["loss"] - 0.5


def test_max_context_acts(file, tmp_path):
    train(file, tmp_path / "model", max_context=24)
    module = models.load(tmp_path / "model")
    assert module.context == 24
    with pytest.raises(ValueError, match="do not fit the context"):
        module(torch.zeros(1, 25, dtype=torch.int64))
    config = TrainingConfig(**{**QUICK, "max_context": 24})
    assert next(load_dataset(file, config).batches(config)).targets.shape == (4, 24)


def test_gradient_clip_acts(file, tmp_path, monkeypatch):
    norms = []
    clip = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda p, limit, **o: norms.append(limit) or clip(p, limit, **o))
    train(file, tmp_path / "tight", gradient_clip=1e-6)
    assert set(norms) == {1e-6}
    norms.clear()
    train(file, tmp_path / "free", gradient_clip=0.0)
    assert norms == [] and not torch.equal(weights(tmp_path / "tight"), weights(tmp_path / "free"))


def test_val_split_acts(file):
    text = load_text(file)
    for share in (0.1, 0.4):
        parts = load_dataset(file, TrainingConfig(val_split=share)).splits
        assert len(parts["validation"]) == pytest.approx(share * len(text), abs=1)
        assert len(parts["train"]) + len(parts["validation"]) == len(text)


def test_sample_frequency_acts(file, tmp_path):
    train(file, tmp_path / "often", sample_frequency=6)
    train(file, tmp_path / "never", sample_frequency=0)
    assert sorted(path.name for path in (tmp_path / "often/samples").iterdir()) == ["00000006.txt", "00000012.txt", "00000018.txt"]
    assert not (tmp_path / "never/samples").exists()


def test_temperature_acts(file, tmp_path):
    """At 0 a sample is what greedy decoding gives, and a higher one makes it another text; the training stays the same."""
    for name, temperature in (("cold", 0.0), ("warm", 2.0)):
        train(file, tmp_path / name, sample_frequency=19, temperature=temperature)
    cold, warm = ((tmp_path / name / "samples/00000019.txt").read_text() for name in ("cold", "warm"))
    validation = load_dataset(file, TrainingConfig(**QUICK))
    prompt = validation.tokenizer.decode(validation.splits["validation"][:16])
    assert cold == prompt + generate(tmp_path / "cold", prompt, max_tokens=100, temperature=0.0)
    assert warm.startswith(prompt) and warm != cold
    assert torch.equal(weights(tmp_path / "cold"), weights(tmp_path / "warm"))


def test_console_fields_act(file, tmp_path):
    train(file, tmp_path / "a", console_max_tokens=30, console_temperature=1.5, console_top_k=0)
    train(file, tmp_path / "short", console_max_tokens=7, console_temperature=1.5, console_top_k=1)
    train(file, tmp_path / "greedy", console_max_tokens=30, console_temperature=0.0)
    saved = json.loads((tmp_path / "a/generation_config.json").read_text())
    assert saved == {"do_sample": True, "eos_token_id": saved["eos_token_id"], "max_new_tokens": 30, "temperature": 1.5, "top_k": 0}
    greedy = generate(tmp_path / "greedy", "the ")
    assert len(greedy) == 30 and greedy == generate(tmp_path / "greedy", "the ", seed=2)
    drawn = [generate(tmp_path / "a", "the ", seed=seed) for seed in (1, 2, 1)]
    assert drawn[0] == drawn[2] != drawn[1] and drawn[0] != greedy
    assert generate(tmp_path / "short", "the ") == greedy[:7], "of the one likeliest character there is but one draw"
    assert generate(tmp_path / "a", "the ", max_tokens=5, temperature=0.0, top_k=3) == greedy[:5], "what the caller says counts"


def test_text_is_lower_cased_and_its_white_space_normalised(file, tmp_path):
    text = load_text(file)
    assert text.startswith("the cat sat on the mat, and looked at the hat;\n\nthe rat ran off with that.\nnobody")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "empty.txt").write_text(" \n\t\n")
    for name, complaint in (("none", "is missing"), ("latin", r"not UTF-8 text \(byte 3\)"), ("empty", "is empty")):
        with pytest.raises(UserError, match=complaint):
            load_text(tmp_path / f"{name}.txt")


def test_text_that_is_too_short_is_refused_before_training(file, tmp_path):
    with pytest.raises(UserError, match=r"max_context = 200 is too long for the validation split of 1\d\d characters: lower it"):
        train(file, tmp_path / "out", max_context=200)
    assert not (tmp_path / "out").exists()


def test_the_plays_stand_in_for_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no text file was named .* `python -m pipeline download plays`"):
        load_text()
    raw = Path("data/raw/plays")
    raw.mkdir(parents=True)
    play = {"id": "a", "text": "# ACT I\n\n**HAMLET**\n\nTo be,  or not to be.\n\n_Exit._\n"}
    (raw / "documents.jsonl").write_text(json.dumps(play) + "\n")
    assert load_text() == "hamlet:\nto be, or not to be.\n"


def test_tokenizer_is_the_pipelines(tmp_path):
    tokenizer = CharacterTokenizer()
    tokenizer.fit("hello world")
    tokenizer.save_state(tmp_path / "state.json")
    again = CharacterTokenizer()
    again.load_state(tmp_path / "state.json")
    assert again.decode(again.encode("low hero")) == "low hero" and again.encode("low") == tokenizer.encode("low")
    with pytest.raises(UserError, match="'x'"):
        again.encode("lox")
    assert CharacterTokenizer is tokenizers.CharacterTokenizer


def test_model_is_configured_by_the_training_configuration_or_json(tmp_path):
    by_config = TransformerModel(30, TrainingConfig(max_context=48))
    assert (by_config.context, by_config.config["hidden_size"]) == (48, 128)
    sizes = tmp_path / "sizes.json"
    sizes.write_text(json.dumps({**SIZES, "max_position_embeddings": 20}))
    by_json, by_mapping = TransformerModel(30, sizes), TransformerModel(30, json.loads(sizes.read_text()))
    assert by_json.config == by_mapping.config and by_json.context == 20
    tokens = torch.arange(20)[None]
    assert torch.equal(by_json(tokens)[0], by_mapping(tokens)[0]) and by_json(tokens)[0].shape == (1, 20, 30)
    later = torch.cat((tokens[:, :10], tokens[:, :10]), 1)
    assert torch.equal(by_json(later)[0][:, :10], by_json(tokens)[0][:, :10]), "no position sees a later one"


def test_wrong_sizes_are_named(tmp_path):
    (tmp_path / "odd.json").write_text('{"hidden_size": 128, "num_attention_heads": 5}')
    for sizes, complaint in [
        ({"width": 3}, r"the model's sizes: width is not a known key"),
        (tmp_path / "odd.json", r"odd\.json: num_attention_heads = 5 does not divide hidden_size = 128"),
        (tmp_path / "none.json", r"none\.json is missing: name a JSON file of sizes"),
    ]:
        with pytest.raises(UserError, match=complaint):
            TransformerModel(30, sizes)
    with pytest.raises(UserError, match=r"max_position_embeddings = 8 is below TrainingConfig.max_context = 64"):
        tinyllm.architecture(TrainingConfig(), {"max_position_embeddings": 8})


def test_the_model_learns_and_its_directory_is_enough(file, tmp_path):
    results = train(file, tmp_path / "made", epochs=12, learning_rate=1e-2)
    assert results["validation"]["loss"] < 1.6, "a rhyme twelve times over; all characters alike would be 3.4"
    directory = (tmp_path / "made").rename(tmp_path / "moved")
    assert json.loads((directory / "train.json").read_text())["settings"]["epochs"] == 12
    assert len(generate(directory, "The Cat ", max_tokens=40)) == 40, "a prompt is lower-cased as the text was"
    with pytest.raises(UserError, match="'7'"):
        generate(directory, "7 cats")
    with pytest.raises(UserError, match="the prompt is empty"):
        generate(directory, "")
    with pytest.raises(UserError, match=r"nowhere is no model directory"):
        generate(tmp_path / "nowhere")


def test_the_best_checkpoint_is_kept_and_stopping_is_early(file, tmp_path, monkeypatch):
    """At a rate that soon does harm, the weights kept are those of the best evaluation, and patience ends the training."""
    monkeypatch.setattr(tinyllm_data, "PATIENCE", 2)
    monkeypatch.setattr(tinyllm_data, "EVALUATE_EVERY", 5)
    results = train(file, tmp_path / "model", epochs=20, learning_rate=0.5)
    rows = [line.split(",") for line in (tmp_path / "model/train.csv").read_text().splitlines()]
    losses = {int(row[0]): float(row[rows[0].index("validation_loss")]) for row in rows[1:]}
    best = min(losses, key=losses.get)
    assert results["best_step"] == best == results["steps"] - 10
    assert results["steps"] < 20 * 19
    assert results["validation"]["loss"] == losses[best]


def test_a_training_that_died_goes_on_to_the_same_bytes(file, tmp_path, stop_after, monkeypatch):
    monkeypatch.setattr(tinyllm_data, "EVALUATE_EVERY", 7)
    long = {"epochs": 8, "sample_frequency": 50}
    train(file, tmp_path / "whole", **long)
    stop_after(130)
    with pytest.raises(MemoryError):
        train(file, tmp_path / "halted", **long)
    monkeypatch.undo()
    monkeypatch.setattr(tinyllm_data, "EVALUATE_EVERY", 7)
    stop_after(52)  # what is left after the checkpoint at step 100
    train(file, tmp_path / "halted", **long)
    for name in ("model.safetensors", "train.json", "train.csv", "samples/00000050.txt", "samples/00000150.txt"):
        assert (tmp_path / "halted" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_the_command(file, tmp_path, monkeypatch, capsys):
    sizes = tmp_path / "sizes.json"
    sizes.write_text(json.dumps(SIZES))
    options = (
        f"{file} -o {tmp_path}/out --model {sizes} -e 2 -b 8 --learning-rate 0.01 --max-context 12 --gradient-clip 0.5 --val-split 0.2"
    )
    more = "--sample-frequency 10 --temperature 0.5 --console-max-tokens 9 --console-temperature 0.7 --console-top-k 4 --quiet"
    monkeypatch.setattr(sys, "argv", ["pipeline", "tinyllm-train", *options.split(), *more.split()])
    with pytest.raises(SystemExit) as stopped:
        __main__.main()
    said = capsys.readouterr()
    assert stopped.value.code == 0 and said.err == "" and said.out.startswith("loss ")
    values = (2, 8, 0.01, 12, 0.5, 0.2, 10, 0.5, 9, 0.7, 4)
    assert json.loads((tmp_path / "out/train.json").read_text())["settings"] == dict(zip(DOCUMENT, values, strict=True))
    assert models.read_config(tmp_path / "out")["hidden_size"] == 16
    assert len(generate(tmp_path / "out", "cat")) == 9


def test_command_without_options_means_the_defaults(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(tinyllm, "train", lambda file, config, *rest, **more: asked.update(file=file, config=config) or sys.exit(7))
    monkeypatch.setattr(sys, "argv", ["pipeline", "tinyllm-train"])
    with pytest.raises(SystemExit, match="7"):
        __main__.main()
    assert asked["file"] is None and asdict(asked["config"]) == asdict(TrainingConfig())


def test_a_data_set_can_be_made_from_text():
    dataset = TextDataset.of("abcdefghij" * 5, 0.2)
    assert dataset.tokenizer.decode(dataset.splits["validation"]) == "abcdefghij"
