"""Valid files of every kind, each with what reads them and what works with what was read."""

import functools
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from pipeline import config, conversion, io, models, quantization
from pipeline.apps.realnet import realstore
from pipeline.conversion import weights
from pipeline.data import documents as document_files
from pipeline.data import ready, shards, tokenizers
from pipeline.data.arithmetic import Codec
from pipeline.data.sources import archive as archives
from pipeline.data.sources import files
from pipeline.errors import UserError
from pipeline.models.realnet.network import RealNet
from pipeline.quantization import storage
from pipeline.tracking import events as event_log
from pipeline.training import state
from pipeline.training.checkpoints import Store
from tests.unit.models import recurrent, tiny

TEXT = "Der Weg, den der Mann geht: weit, weiter, am weitesten!\n" * 9
CODEC = Codec(operators=("+", "-"), operands=2, minimum=0, maximum=9, answer_minimum=-9, answer_maximum=18)

__all__ = ["UserError"]


def float_model(folder: Path) -> None:
    module = tiny.model()
    models.save(module.state_dict(), module.config, folder / "model.safetensors", folder / "config.json")


def _tokenizer(folder: Path) -> None:
    made = tokenizers.characters("abcdefghijklmnop"[: tiny.VOCABULARY - 1])
    made.save(folder / "tokenizer.json", folder / "tokenizer_config.json")


def gru_model(folder: Path) -> None:
    module = recurrent.model("gru")
    models.save(module.state_dict(), module.config, folder / "model.safetensors", folder / "config.json")


def read_float_model(folder: Path) -> Any:
    return models.load(folder)


def predict(module: Any) -> None:
    with torch.no_grad():
        logits, _ = module(torch.zeros(1, min(2, module.context), dtype=torch.int64))
    assert logits.shape[:2] == (1, min(2, module.context))


def quantized_model(folder: Path) -> None:
    float_model(folder)
    module = models.load(folder)
    packed = quantization.quantize(module.quantizable(), "model", {name: 15 if "embed" in name else 5 for name in module.quantizable()})
    others = {name: tensor for name, tensor in module.state_dict().items() if name not in packed}
    described = {**module.config, "quantization_config": {**storage.describe(packed), "activations": "float"}}
    models.save(storage.tensors_of(packed, others), described, folder / "model.safetensors", folder / "config.json")


def read_quantized_model(folder: Path) -> Any:
    return quantization.load(folder)


def export(format: str) -> Callable[[Path], None]:
    """What writes a small model in a format."""

    def make(folder: Path) -> None:
        source = folder.with_name(f"{folder.name}.source")
        source.mkdir()
        quantized_model(source)
        _tokenizer(source)
        _ready(source)
        module = weights.dense(source)
        conversion.converter("transformer", format).export(module, conversion.Source("tiny", source, source), folder)

    return make


def _ready(folder: Path) -> None:
    """What a model card takes its example and its data set's name from."""
    tokens = np.arange(60 * tiny.CONTEXT, dtype=np.uint8) % (tiny.VOCABULARY - 1)
    shards.write(folder / "validation.safetensors", {"tokens": tokens}, {})
    dataset(folder)


def read_export(format: str) -> Callable[[Path], Any]:
    return functools.partial(conversion.read, "transformer", format)


def shard(folder: Path) -> None:
    shards.write(folder / "train.safetensors", {"tokens": np.arange(60, dtype=np.uint8).reshape(12, 5)}, {"prompt_length": "3"})


def read_shard(folder: Path) -> Any:
    shards.verify(folder / "train.safetensors")
    return shards.tokens(folder / "train.safetensors", 60, 5).sum()


def _training() -> tuple[Any, list[torch.optim.Optimizer]]:
    module = tiny.model(num_hidden_layers=1)
    return module, [torch.optim.AdamW(module.parameters())]


def checkpoint(folder: Path) -> None:
    module, optimizers = _training()
    module(tiny.tokens(2, 3))[0].sum().backward()
    optimizers[0].step()
    progress = state.Progress(step=4, curve=[{"step": 4, "train_loss": 1.5}], best_step=4, best_score=(1.5,))
    held = state.capture(module, optimizers, progress, state.weights(module), torch.tensor(1.0), {})
    Store(folder).save(4, *held)


def read_checkpoint(folder: Path) -> Any:
    found = Store(folder).load()
    if found is None:
        raise UserError(f"{folder}: said to be damaged")
    return state.restore(found, *_training(), {})


def characters(folder: Path) -> None:
    tokenizers.characters(TEXT, unknown=True).save(folder / "tokenizer.json", folder / "tokenizer_config.json")


def byte_pairs(folder: Path) -> None:
    tokenizers.byte_pairs([TEXT], 300).save(folder / "tokenizer.json", folder / "tokenizer_config.json")


def read_tokenizer(folder: Path) -> Any:
    return tokenizers.load(folder)


def tokenize(tokenizer: Any) -> None:
    ids = tokenizer.encode("Weiter! – weiß\n")
    assert all(0 <= id < tokenizer.vocab_size for id in [*ids, tokenizer.eos])
    tokenizer.decode(ids)
    tokenizer.decode(range(tokenizer.vocab_size))


def gpt2(folder: Path) -> None:
    model = json.loads(tokenizers.byte_pairs([TEXT], 280).backend.to_str())["model"]
    io.write_json(folder / "vocab.json", model["vocab"])
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")


def read_gpt2(folder: Path) -> Any:
    return tokenizers.gpt2(str(folder))


def dataset(folder: Path) -> None:
    totals = {split: {"tokens": 60, "documents": 9, "sha256": "0" * 64} for split in ("train", "validation", "test")}
    summary = {"kind": "arithmetic", "name": "sums", "vocab_size": CODEC.vocab_size, "splits": totals, "codec": CODEC.to_dict()}
    io.write_json(folder / "dataset.json", {**summary, "version": 1, "test_is_validation": False, "source": {"kind": "generated"}})


def read_dataset(folder: Path) -> Any:
    return ready.description(folder)


def calculate(described: Any) -> None:
    if described["kind"] == "arithmetic":
        codec = Codec.from_dict(described["codec"])
        codec.decode(codec.encode_problem("3+4="))


def documents(folder: Path) -> None:
    document_files.write(folder / "documents.jsonl", (document_files.Document(f"{i}", TEXT[i:]) for i in range(5)))


def read_documents(folder: Path) -> Any:
    return list(document_files.read(folder / "documents.jsonl"))


def rows(folder: Path) -> None:
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": TEXT[i:], "n": i}) + "\n" for i in range(5)))


def read_rows(folder: Path) -> Any:
    return list(files.documents(folder / "rows.jsonl", str(folder / "rows.jsonl"), "text"))


def archive(folder: Path) -> None:
    with zipfile.ZipFile(folder / "texts.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for i in range(3):
            file.writestr(f"{i}.txt", TEXT)


def read_archive(folder: Path) -> Any:
    return list(archives.documents(folder / "texts.zip", "**/*.txt", "text", str(folder / "texts.zip")))


def parquet(folder: Path) -> None:
    import pyarrow
    from pyarrow import parquet as library

    library.write_table(pyarrow.table({"text": [TEXT, "x"], "n": [1, 2]}), folder / "rows.parquet")


def read_parquet(folder: Path) -> Any:
    return list(files.documents(folder / "rows.parquet", str(folder / "rows.parquet"), "text"))


def events(folder: Path) -> None:
    (folder / "log.jsonl").write_text(
        "".join(json.dumps({"event": "metrics", "step": i, "values": {"loss": 0.5}}) + "\n" for i in range(4))
    )


def read_events(folder: Path) -> Any:
    return event_log.read(folder / "log.jsonl")


def parameters(folder: Path) -> None:
    sums = {"kind": "arithmetic", "maximum": 12}
    adder = {
        "family": "transformer",
        "dataset": "sums",
        "architecture": {},
        "training": {"steps": 999},
        "quantization": {},
        "evaluation": {},
    }
    text = yaml.safe_dump({"seed": 3, "datasets": {"sums": sums}, "models": {"adder": {**adder, "formats": ["json"]}}})
    (folder / "params.yaml").write_text(text)


def read_parameters(folder: Path) -> Any:
    return config.load(folder / "params.yaml")


def tinyllm(folder: Path) -> None:
    float_model(folder)
    _tokenizer(folder)
    io.write_json(folder / "generation_config.json", {"max_new_tokens": 5, "do_sample": True, "temperature": 0.8, "top_k": 4})


def read_tinyllm(folder: Path) -> Any:
    from pipeline.apps import tinyllm as library

    try:
        return library.generate(folder, "ab")
    except UserError as error:
        raise UserError(f"{folder}: {error}") if "logits are not finite" in str(error) else error from None


def realnet(folder: Path) -> None:
    torch.manual_seed(1)
    network = RealNet(6, [0, 1], [4, 5])
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.zeros(1, 2), 2)[0].sum().backward()
    optimizer.step()
    realstore.save_checkpoint(network, optimizer, 3, 0.5, folder / "net.safetensors", {"note": "x"})


def read_realnet(folder: Path) -> Any:
    network = realstore.load(folder / "net.safetensors")
    realstore.load_checkpoint(network, torch.optim.AdamW(network.parameters()), folder / "net.safetensors")
    return network


def think(network: Any) -> None:
    network(torch.zeros(1, len(network.input_ids)), 2)
