"""CalcGPT's training library on the one loop: `from pipeline.apps.calcgpt import CalcGPTTrainer, TrainingConfig`.

What it writes is a model directory like any other here. Inside, operands are padded and digits reversed by the codec that the directory
keeps; outside, people write `12+34=`.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from pipeline.apps.calcgpt_config import TrainingConfig
from pipeline.apps.calcgpt_data import OptimizedDataset, augment_data, codec_of, create_vocab, load_dataset, split_data
from pipeline.apps.fit import fit, quiet
from pipeline.data.arithmetic import Codec
from pipeline.errors import UserError
from pipeline.models import transformer
from pipeline.models.base import Model
from pipeline.models.generation import generate
from pipeline.progress import say
from pipeline.schema.families import Transformer
from pipeline.schema.training import Training
from pipeline.training.tasks import Arithmetic

__all__ = [
    "CalcGPTTrainer",
    "OptimizedDataset",
    "TrainingConfig",
    "augment_data",
    "create_model_config",
    "create_vocab",
    "detect_device",
    "load_dataset",
]

QUICK_TEST = ("1+1=2", "2+3=5", "5+0=5")


def detect_device() -> torch.device:
    """The best device that torch finds: CUDA, Apple's MPS, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def create_model_config(
    vocab_size: int, maxlen: int, training_config: TrainingConfig, quintet: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A model's config.json, for `pipeline.models.create(config, seed)`: a context of `maxlen` tokens, the last id ends a text.

    `quintet` adds to the section of that name.
    """
    c = training_config
    architecture = Transformer(
        hidden_size=c.embedding_dim,
        num_hidden_layers=c.num_layers,
        num_attention_heads=c.num_heads,
        intermediate_size=c.feedforward_dim,
        max_position_embeddings=maxlen,
    )
    return transformer.configuration(architecture, vocab_size, vocab_size - 1, {"task": "arithmetic", **(quintet or {})})


class CalcGPTTrainer:
    """Trains a calculator on a file of equations and writes its model directory. Each method can be overridden by itself."""

    def __init__(self, config: TrainingConfig, dataset_path: str | Path, output_dir: str | Path, verbose: bool = True) -> None:
        self.config, self.dataset_path, self.output_dir, self.verbose = config, Path(dataset_path), Path(output_dir), verbose

    def load_examples(self) -> list[str]:
        """The equations of the file, augmented unless the configuration says no; raises `UserError`."""
        examples = load_dataset(self.dataset_path)
        return examples if self.config.no_augmentation else augment_data(examples)

    def settings(self, examples: int) -> Training:
        """The loop's settings for so many equations of training: evaluated once an epoch, the best epoch's weights are kept."""
        c = self.config
        epoch = -(-examples // c.batch_size)
        return Training(
            epochs=c.epochs,
            batch_size=c.batch_size,
            learning_rate=c.learning_rate,
            weight_decay=c.weight_decay,
            warmup_steps=min(c.warmup_steps, c.epochs * epoch // 2),
            checkpoint_every=c.save_steps,
            evaluate_every=epoch,
            device="cuda" if detect_device().type == "cuda" else "cpu",
            threads=torch.get_num_threads(),
        )

    def train(self) -> dict[str, Any]:
        """Train, write the model directory, and return what came out; called again after a stop it goes on. Raises `UserError`.

        Keys: `training_loss` and `eval_loss` (mean cross-entropy over answers, of the weights that were kept), `exact_match` (share of
        held-out equations whose greedy answer is right), `training_time` in seconds, `vocab_size`, `dataset_size`, `model_params`, and
        `test_results`: a few problems with the model's answers.
        """
        began = time.perf_counter()
        examples = self.load_examples()
        parts, codec = split_data(examples, self.config.test_split, self.config.seed), codec_of(examples)
        rows = {split: codec.encode_rows(texts) for split, texts in parts.items()}
        task = Arithmetic(rows, self.settings(len(parts["train"])), self.config.seed, codec.row_length, codec)
        about = {"dataset": self.dataset_path.stem, "codec": codec.to_dict()}
        model_config = create_model_config(codec.vocab_size, codec.row_length, self.config, about)
        greedy = {"do_sample": False, "max_new_tokens": codec.answer_width + 1, "eos_token_id": codec.eos}
        with quiet(not self.verbose):
            say(f"{len(parts['train'])} equations to learn from, {len(parts['validation'])} held out")
            module, figures = fit(task, model_config, codec.tokenizer(), self.output_dir, asdict(self.config), greedy)
        return {
            "training_loss": figures["train"]["loss"],
            "eval_loss": figures["validation"]["loss"],
            "exact_match": figures["validation"]["exact_match"],
            "training_time": time.perf_counter() - began,
            "vocab_size": codec.vocab_size,
            "dataset_size": len(examples),
            "test_results": self.quick_test(module, codec, parts["validation"]),
            "model_params": figures["parameters"],
        }

    def quick_test(self, module: Model, codec: Codec, held_out: Sequence[str]) -> list[dict[str, Any]]:
        """Answers to a few easy problems, or where the model cannot read those, to the first that were held out."""
        equations = [equation for equation in QUICK_TEST if _readable(codec, equation)] or held_out[: len(QUICK_TEST)]
        problems, expected = zip(*(equation.split("=") for equation in equations), strict=True)
        prompts = [codec.encode_problem(problem) for problem in problems]
        drawn = generate(module, prompts, codec.answer_width + 1, eos=codec.eos)
        answers = [codec.decode_answer(ids) for ids in drawn]
        rows = zip(problems, expected, answers, strict=True)
        return [{"problem": f"{p}=", "expected": e, "answer": a, "correct": a == e} for p, e, a in rows]


def _readable(codec: Codec, equation: str) -> bool:
    try:
        codec.encode_equation(equation)
    except UserError:
        return False
    return True
