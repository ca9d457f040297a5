"""tinyllm_py on the one loop: configuration, character tokenizer, data set, model, training and generation under the document's names."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline import io, models, rng
from pipeline.apps.fit import GENERATION, fit, quiet
from pipeline.apps.tinyllm_config import TrainingConfig
from pipeline.apps.tinyllm_data import SEED, TextDataset, load_dataset, load_text
from pipeline.config import explain
from pipeline.data import tokenizers
from pipeline.data.tokenizers import CharacterTokenizer
from pipeline.errors import UserError
from pipeline.models import generation, transformer
from pipeline.progress import say
from pipeline.schema.families import Transformer

__all__ = ["CharacterTokenizer", "TextDataset", "TrainingConfig", "TransformerModel", "generate", "load_dataset", "load_text", "train"]

Sizes = Mapping[str, Any] | str | Path
"""Keys of the transformer's block in params.yaml, or a JSON file of them."""


class TransformerModel(transformer.Transformer):
    """A small transformer at the start of its training: embedding, rotary positions, blocks of attention and MLP, output projection."""

    def __init__(self, vocab_size: int, config: TrainingConfig | Sizes, seed: int = SEED) -> None:
        """A `TrainingConfig` gives the context and leaves the sizes at their defaults; raises `UserError` for sizes that cannot be."""
        block = architecture(config) if isinstance(config, TrainingConfig) else _read(config)
        super().__init__(transformer.configuration(block, vocab_size, vocab_size - 1, {}))
        transformer.initialize(self, seed)


def architecture(config: TrainingConfig, sizes: Sizes | None = None) -> Transformer:
    """The transformer's sizes: `sizes` over the family's defaults, with the context of `config`; raises `UserError`."""
    block = _read(sizes or {})
    if "max_position_embeddings" in block.model_fields_set and block.max_position_embeddings < config.max_context:
        raise UserError(
            f"max_position_embeddings = {block.max_position_embeddings} is below TrainingConfig.max_context = {config.max_context}: "
            "raise it or leave it out"
        )
    if "max_position_embeddings" in block.model_fields_set:
        return block
    return block.model_copy(update={"max_position_embeddings": config.max_context})


def _read(sizes: Sizes) -> Transformer:
    if not isinstance(sizes, Mapping) and not Path(sizes).is_file():
        raise UserError(f'{sizes} is missing: name a JSON file of sizes, such as {{"hidden_size": 128, "num_hidden_layers": 4}}')
    data = sizes if isinstance(sizes, Mapping) else io.read_json(Path(sizes))
    try:
        return Transformer.model_validate(data)
    except ValidationError as error:
        origin = "the model's sizes" if isinstance(sizes, Mapping) else str(sizes)
        raise UserError(f"{origin}: {explain(error, data)}") from None


def train(
    file: str | Path | None,
    config: TrainingConfig,
    output: str | Path,
    sizes: Sizes | None = None,
    seed: int = SEED,
    verbose: bool = True,
) -> dict[str, Any]:
    """Train on a text file (on the plays without one) and write the model directory; called again after a stop it goes on.

    The directory also gets samples/, as they are drawn. Returns the metrics: `train` and `validation` with their `loss`, `parameters`,
    `steps`, `best_step`, `tokens`. Raises `UserError`.
    """
    block, dataset = architecture(config, sizes), load_dataset(file, config)
    task, tokenizer = dataset.task(config, seed), dataset.tokenizer.tokenizer
    about = {"dataset": Path(file).stem if file else "plays", "task": "language"}
    described = transformer.configuration(block, tokenizer.vocab_size, tokenizer.eos, about)
    with quiet(not verbose):
        say(f"{len(task.splits['train'])} characters to learn from, {len(task.splits['validation'])} held out")
        return fit(task, described, tokenizer, Path(output), asdict(config), generation_defaults(config, tokenizer.eos))[1]


def generation_defaults(config: TrainingConfig, eos: int) -> dict[str, Any]:
    """The console's settings as generation_config.json spells them; greedy decoding has no temperature."""
    drawn = {"do_sample": True, "temperature": config.console_temperature, "top_k": config.console_top_k}
    return {
        "max_new_tokens": config.console_max_tokens,
        "eos_token_id": eos,
        **(drawn if config.console_temperature else {"do_sample": False}),
    }


def _defaults(path: Path) -> dict[str, Any]:
    """generation_config.json; raises `UserError` for settings that nothing can be drawn by."""
    found = io.read_json(path)
    given = {"temperature": 0.0, "top_k": 0, **found} if isinstance(found, dict) else {}
    for key, kinds in (("max_new_tokens", (int,)), ("top_k", (int,)), ("temperature", (int, float))):
        if type(given.get(key)) not in kinds or given[key] < 0:
            raise UserError(f"{path}: {key} is {given.get(key)!r}, not a number of at least 0: train the model again")
    return given


def generate(
    directory: str | Path,
    prompt: str = "\n",
    *,
    max_tokens: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    seed: int = SEED,
) -> str:
    """Text that goes on from `prompt` (in lower case, as the model read its text); what is not given is as the model's training set it.

    Raises `UserError` for a directory that is not complete, an empty prompt, or a character that the model has never seen.
    """
    directory = Path(directory)
    if not (directory / GENERATION).is_file():
        raise UserError(f"{directory} is no model directory with a {GENERATION}: name one that tinyllm-train wrote")
    defaults = _defaults(directory / GENERATION)
    if not prompt:
        raise UserError("the prompt is empty: give at least one character, such as a newline")
    module, tokenizer = models.load(directory), tokenizers.load(directory)
    drawn = generation.generate(
        module,
        [tokenizer.encode(prompt.lower())],
        defaults["max_new_tokens"] if max_tokens is None else max_tokens,
        temperature=defaults["temperature"] if temperature is None else temperature,
        top_k=defaults["top_k"] if top_k is None else top_k,
        eos=tokenizer.eos,
        generator=rng.generator(seed, "generate"),
    )
    return tokenizer.decode(token for token in drawn[0] if token != tokenizer.eos)
