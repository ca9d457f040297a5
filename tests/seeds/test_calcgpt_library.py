"""CalcGPT's library beyond its document's examples: what goes wrong, what does not leak, and that it learns to calculate."""

import json
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from pipeline import __main__, models
from pipeline.apps.calcgpt import CalcGPTTrainer, OptimizedDataset, TrainingConfig, augment_data, create_vocab, detect_device, load_dataset
from pipeline.apps.calcgpt_data import codec_of, split_data
from pipeline.apps.fit import STATE
from pipeline.data import tokenizers
from pipeline.data.arithmetic import Codec, group, parse
from pipeline.errors import UserError
from pipeline.models.generation import generate

SMALL = {"embedding_dim": 16, "num_layers": 1, "num_heads": 2, "feedforward_dim": 32}
DEFAULTS = {
    "epochs": 50,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "embedding_dim": 128,
    "num_layers": 6,
    "num_heads": 8,
    "feedforward_dim": 512,
    "warmup_steps": 50,
    "weight_decay": 0.01,
    "save_steps": 1000,
    "test_split": 0.2,
    "seed": 42,
    "no_augmentation": False,
}


def equations(largest: int) -> list[str]:
    sums = [f"{a}+{b}={a + b}" for a in range(largest + 1) for b in range(largest + 1)]
    return [*sums, *(f"{a}-{b}={a - b}" for a in range(largest + 1) for b in range(a + 1))]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture
def small(tmp_path) -> Path:
    return write(tmp_path / "small.txt", equations(4))


def train(path, output, **fields):
    return CalcGPTTrainer(TrainingConfig(**{"epochs": 2, "batch_size": 4, **SMALL, **fields}), path, output, verbose=False).train()


def test_fields_and_defaults():
    assert asdict(TrainingConfig()) == DEFAULTS


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    [
        ("epochs", 0, "greater than 0"),
        ("batch_size", -1, "greater than 0"),
        ("batch_size", "8", "valid integer"),
        ("learning_rate", 0.0, "greater than 0"),
        ("learning_rate", float("nan"), "less than or equal to 1"),
        ("embedding_dim", 33, "choose an even number"),
        ("num_heads", 7, "choose one of [1, 2, 4, 8, 16, 32, 64]"),
        ("warmup_steps", -1, "greater than or equal to 0"),
        ("weight_decay", -0.1, "greater than or equal to 0"),
        ("test_split", 1.0, "less than 1"),
        ("seed", -1, "greater than or equal to 0"),
        ("no_augmentation", 1, "valid boolean"),
    ],
)
def test_configuration_names_field_value_and_remedy(field, value, remedy):
    with pytest.raises(UserError, match=rf"^TrainingConfig\.{field} = {re.escape(repr(value))}.*{re.escape(remedy)}"):
        TrainingConfig(**{field: value})


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("12*3x=36", "'x' at position 5"),
        ("12+3", "is not a whole equation"),
        ("=5", "a number"),
        ("7=7", "is not a whole equation"),
        ("1+1=3", "is not true, since 1+1 is 2"),
        ("4//0=1", "divides by zero"),
        ("٣+1=4", "'٣' at position 1"),
    ],
)
def test_each_line_is_checked(tmp_path, line, complaint):
    path = write(tmp_path / "sums.txt", ["1+1=2", "", line])
    with pytest.raises(UserError, match=re.escape(f"{path}:3: ")) as error:
        load_dataset(path)
    assert complaint in str(error.value)


def test_files_that_are_no_data_set(tmp_path):
    with pytest.raises(UserError, match=r"none\.txt is missing"):
        load_dataset(tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(UserError, match=r"empty\.txt has no equations"):
        load_dataset(tmp_path / "empty.txt")
    (tmp_path / "binary.txt").write_bytes(b"1+1=2\n\xff")
    with pytest.raises(UserError, match=r"binary\.txt is not UTF-8 text \(byte 6\)"):
        load_dataset(tmp_path / "binary.txt")
    with pytest.raises(UserError, match=r"'1\+2\+3=6' has not 2 operands"):
        codec_of(["1+1=2", "1+2+3=6"])
    with pytest.raises(UserError, match="cannot be split"):
        train(write(tmp_path / "one.txt", ["1+2=3"]), tmp_path / "out")


def test_load_dataset_takes_spaces_and_every_operator(tmp_path):
    path = write(tmp_path / "mixed.txt", [" 12 + 34 = 46 ", "3*-4=-12", "7//2=3", "5-9=-4"])
    assert load_dataset(str(path)) == ["12+34=46", "3*-4=-12", "7//2=3", "5-9=-4"]


def test_augmentation_exchanges_operands_once():
    examples = ["1+2=3", "2+1=3", "3+4=7", "5+5=10", "2*3=6", "9-4=5", "8//2=4"]
    assert augment_data(examples) == [*examples, "4+3=7", "3*2=6"]


def test_augmentation_is_linear():
    few, many = ([f"{a}+{b}={a + b}" for a in range(40) for b in range(40, 40 + n)] for n in (25, 400))
    times = []
    for examples in (few, many):
        start = time.process_time()
        assert len(augment_data(examples)) == 2 * len(examples)
        times.append(time.process_time() - start)
    assert times[1] < 16 * 4 * times[0] + 0.05, "sixteen times the examples, well below 256 times the work"


def test_split_keeps_mirror_images_together():
    examples = augment_data(equations(20))
    parts = split_data(examples, 0.2, seed=3)
    pairs = {name: {group(parse(text).operands) for text in texts} for name, texts in parts.items()}
    assert pairs["train"] & pairs["validation"] == set()
    assert sorted([*parts["train"], *parts["validation"]]) == sorted(examples)
    assert len(parts["validation"]) == pytest.approx(0.2 * len(examples), abs=2)
    assert split_data(examples, 0.2, seed=4) != parts


def test_augmented_equations_do_not_leak_into_training(tmp_path, monkeypatch):
    """From a file with one order of each sum, the other order goes where its mirror image went."""
    seen = {}
    original = CalcGPTTrainer.quick_test
    monkeypatch.setattr(CalcGPTTrainer, "quick_test", lambda self, m, c, held: seen.update(held=held) or original(self, m, c, held))
    path = write(tmp_path / "half.txt", [f"{a}+{b}={a + b}" for a in range(8) for b in range(a)])
    assert train(path, tmp_path / "a", epochs=1)["dataset_size"] == 56
    assert seen["held"] and {f"{b}+{a}" for a, b in (text.split("=")[0].split("+") for text in seen["held"])} == {
        text.split("=")[0] for text in seen["held"]
    }
    assert train(path, tmp_path / "b", epochs=1, no_augmentation=True)["dataset_size"] == 28


def test_optimized_dataset_scores_the_answer_and_its_end():
    vocab, id2char = create_vocab(["12+34=46", "5-3=2"])
    assert [id2char[i] for i in range(len(vocab))] == [*sorted("+-123456="), "<|endoftext|>"] and vocab["+"] == 0
    end = vocab["<|endoftext|>"]
    item = OptimizedDataset(["5-3=2", "12+34=46"], 10, vocab)[0]
    assert item["input_ids"].tolist() == [*(vocab[char] for char in "5-3=2"), *[end] * 5]
    assert item["labels"].tolist() == [-100, -100, -100, -100, vocab["2"], end, -100, -100, -100, -100]
    with pytest.raises(UserError, match=r"'7' .* at position 5"):
        OptimizedDataset(["1+6=7"], 10, vocab)
    with pytest.raises(UserError, match="take 9 tokens, but maxlen is 8"):
        OptimizedDataset(["12+34=46"], 8, vocab)
    with pytest.raises(UserError, match="not made by create_vocab"):
        OptimizedDataset(["5-3=2"], 10, {**vocab, "+": 1, "-": 0})


def test_device_is_one_that_computes():
    assert (torch.ones(2, device=detect_device()) * 2).sum().item() == 4


def test_the_model_learns_to_calculate(tmp_path):
    """Held-out problems, asked through nothing but the model directory, moved elsewhere."""
    path = write(tmp_path / "sums.txt", equations(20))
    sizes = {"embedding_dim": 64, "num_layers": 2, "num_heads": 4, "feedforward_dim": 192}
    results = train(path, tmp_path / "made", epochs=40, batch_size=64, learning_rate=5e-3, **sizes)
    assert results["exact_match"] > 0.85 and all(test["correct"] for test in results["test_results"])
    directory = (tmp_path / "made").rename(tmp_path / "moved")
    module = models.load(directory)
    codec = Codec.from_dict(module.config["quintet"]["codec"])
    assert tokenizers.load(directory).vocab_size == codec.vocab_size
    problems = ["7+8=", "20-3=", "19+19=", "12+5="]
    answers = generate(module, [codec.encode_problem(problem) for problem in problems], codec.answer_width + 1, eos=codec.eos)
    assert sum(codec.decode_answer(ids) == answer for ids, answer in zip(answers, ["15", "17", "38", "17"], strict=True)) >= 3


def test_what_the_settings_do(small, tmp_path):
    """Each field of the configuration reaches the loop or the data."""
    base = CalcGPTTrainer(TrainingConfig(), small, tmp_path).settings(100)
    assert (base.epochs, base.batch_size, base.learning_rate, base.weight_decay) == (50, 8, 1e-3, 0.01)
    assert (base.warmup_steps, base.checkpoint_every, base.evaluate_every) == (50, 1000, 13)
    other = TrainingConfig(epochs=2, batch_size=50, learning_rate=0.1, weight_decay=0.5, save_steps=7)
    changed = CalcGPTTrainer(other, small, tmp_path).settings(100)
    assert (changed.epochs, changed.batch_size, changed.learning_rate, changed.weight_decay) == (2, 50, 0.1, 0.5)
    assert (changed.warmup_steps, changed.checkpoint_every) == (2, 7), "no more than half of the four steps are warm-up"
    train(small, tmp_path / "a", seed=1)
    train(small, tmp_path / "b", seed=2)
    weights = [models.read_tensors(tmp_path / name / "model.safetensors")["model.embed_tokens.weight"] for name in "ab"]
    assert not torch.equal(*weights)
    config = models.read_config(tmp_path / "a")
    assert (config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"], config["intermediate_size"]) == (
        16,
        1,
        2,
        32,
    )


def test_a_training_that_died_goes_on_to_the_same_bytes(small, tmp_path, stop_after, monkeypatch):
    whole, halted = tmp_path / "whole", tmp_path / "halted"
    train(small, whole, save_steps=3)
    stop_after(7)
    with pytest.raises(MemoryError):
        train(small, halted, save_steps=3)
    monkeypatch.undo()
    assert sorted((halted / STATE).glob("*/*.safetensors")) and not (halted / "model.safetensors").exists()
    train(small, halted, save_steps=3)
    for name in ("model.safetensors", "config.json", "tokenizer.json", "train.json", "train.csv"):
        assert (halted / name).read_bytes() == (whole / name).read_bytes(), name
    assert not (halted / STATE).exists()
    steps = [json.loads(line) for line in (halted / "train.jsonl").read_text().splitlines()]
    assert [event["status"] for event in steps if event["event"] == "end"] == ["failed", "finished"]


def test_another_configuration_does_not_go_on_from_it(small, tmp_path, stop_after, monkeypatch):
    stop_after(7)
    with pytest.raises(MemoryError):
        train(small, tmp_path / "a", save_steps=3)
    monkeypatch.undo()
    train(small, tmp_path / "a", save_steps=3, learning_rate=1e-2)
    train(small, tmp_path / "b", save_steps=3, learning_rate=1e-2)
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()


def test_the_callers_torch_is_left_alone(small, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(small, tmp_path / "a")
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_trainer_can_be_changed_in_part(small, tmp_path):
    class OnlySums(CalcGPTTrainer):
        def load_examples(self):
            return [text for text in super().load_examples() if "+" in text]

    results = OnlySums(TrainingConfig(epochs=1, **SMALL), small, tmp_path / "sums", verbose=False).train()
    assert results["dataset_size"] == 25
    assert models.read_config(tmp_path / "sums")["quintet"]["codec"]["operators"] == ["+"]


def test_the_command_names_a_mistake(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    for arguments, sentence in [
        (["-e", "0"], "error: TrainingConfig.epochs = 0: input should be greater than 0"),
        ([], "error: datasets/ds-calcgpt.txt is missing: name a text file with one equation a line, such as 12+34=46"),
    ]:
        monkeypatch.setattr(sys, "argv", ["pipeline", "calcgpt-train", *arguments])
        with pytest.raises(SystemExit) as stopped:
            __main__.main()
        assert stopped.value.code == 2 and capsys.readouterr().err.strip() == sentence


def test_the_command_takes_every_option(monkeypatch, capsys, small, tmp_path):
    options = (
        f"-d {small} -o {tmp_path}/out -e 2 -b 5 --learning-rate 0.01 --embedding-dim 16 --num-layers 1 --num-heads 2 --feedforward-dim 24"
    )
    more = "--weight-decay 0.2 --warmup-steps 3 --save-steps 4 --no-augmentation --test-split 0.3 --seed 9 --quiet"
    monkeypatch.setattr(sys, "argv", ["pipeline", "calcgpt-train", *options.split(), *more.split()])
    with pytest.raises(SystemExit) as stopped:
        __main__.main()
    assert stopped.value.code == 0 and capsys.readouterr().err == ""
    kept = json.loads((tmp_path / "out/train.json").read_text())["settings"]
    sizes = {"embedding_dim": 16, "num_layers": 1, "num_heads": 2, "feedforward_dim": 24}
    loop = {"epochs": 2, "batch_size": 5, "learning_rate": 0.01, "weight_decay": 0.2, "warmup_steps": 3, "save_steps": 4}
    assert kept == {**sizes, **loop, "no_augmentation": True, "test_split": 0.3, "seed": 9}
