"""A model's way to disk and back: `NAME.json` is the document's JSON (`documents`), any other name a directory of packed safetensors.

The directory is what the stages write, too (`pipeline.quantization.storage`): config.json says what the network is, model.safetensors holds
digits, scales and biases, and tokenizer.json what a text's tokens are.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer as Backend

from pipeline import models, ops
from pipeline.apps.pentary import documents, exported, layers
from pipeline.apps.pentary.model import PentaryModel
from pipeline.apps.pentary.multimodal import MultimodalFusion
from pipeline.apps.pentary.processors import AudioProcessor, ImageProcessor, TextProcessor
from pipeline.data import tokenizers
from pipeline.data.tokenizers import Tokenizer
from pipeline.errors import UserError
from pipeline.models.pentary.network import Network
from pipeline.quantization import storage
from pipeline.quantization.modules import PackedMatrix

FAMILY = "pentary_library"
PROCESSORS: dict[str, Any] = {"text": TextProcessor, "image": ImageProcessor, "audio": AudioProcessor}
CONFIG, WEIGHTS = "config.json", "model.safetensors"


class Loaded(NamedTuple):
    """A network with plain weights, its sizes (input_dim, output_dim, hidden_dims), and the fusion that feeds it, if any."""

    network: Network
    head: dict[str, Any]
    fusion: MultimodalFusion | None


def save(model: PentaryModel, path: Path, fusion: MultimodalFusion | None = None) -> None:
    """Write a model at five levels, and the fusion that feeds it."""
    network, matrices = model.packed()
    head = {"input_dim": model.input_dim, "output_dim": model.output_dim, "hidden_dims": model.hidden_dims}
    if path.suffix == ".json":
        document = documents.encode(network, matrices, head)
        documents.write(path, document | ({"fusion": _fusion_document(fusion)} if fusion else {}))
        return
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    packed = {f"network.{name}": matrix for name, matrix in matrices.items()}
    if fusion is not None:
        plain, more = layers.packed(fusion)
        tensors |= {f"fusion.{name}": tensor for name, tensor in plain.state_dict().items()}
        packed |= {f"fusion.{name}": matrix for name, matrix in more.items()}
        if "text" in fusion.processors:
            _tokenizer(fusion).save(path / "tokenizer.json", path / "tokenizer_config.json")
    config = {
        "model_type": "pentary",
        "quintet": {"family": FAMILY},
        "network": {**head, "layers": network.description, "fusion": _settings(fusion) if fusion else None},
        "quantization_config": storage.describe(packed),
    }
    others = {name: tensor for name, tensor in tensors.items() if name not in packed}
    models.save(storage.tensors_of(packed, others), config, path / WEIGHTS, path / CONFIG)


def load(path: Path) -> Loaded:
    """Read what `save` wrote, or as JSON what the document's own tool or the pipeline's export `json` did.

    `UserError` names file and part where something is missing or damaged.
    """
    if path.suffix == ".json":
        document = documents.read(path)
        if isinstance(document, dict) and "architecture" in document:
            return Loaded(*exported.read(document, path), fusion=None)
        network = documents.decode(document, path)
        fusion = _fusion_read(document["fusion"], path) if document.get("fusion") else None
        return Loaded(network, _head(document, network, path), fusion)
    config, matrices, others = storage.read(path)
    where = path / CONFIG
    try:
        about = config["network"]
        sizes = sum(len(matrix.codes) * matrix.columns for matrix in matrices.values()) + sum(tensor.numel() for tensor in others.values())
        _check_sizes(about, sizes)
        with torch.device("meta"):  # sizes take memory only once the file is found to have as many numbers
            network = Network(about["layers"])
        fusion = _made(about["fusion"], sizes) if about["fusion"] else None
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{where} describes no model that can be built ({error!r}): save the model again") from None
    _load(network, "network.", matrices, others, path)
    if fusion is not None:
        _load(fusion, "fusion.", matrices, others, path)
        if "text" in fusion.processors:
            _give(fusion, tokenizers.load(path))
    return Loaded(network.eval(), _head(about, network, where), fusion)


def _head(about: Mapping[str, Any], network: Network, path: Path) -> dict[str, Any]:
    """The sizes of a network, if they are what it takes and makes; `UserError`."""
    head = {key: about.get(key) for key in ("input_dim", "output_dim", "hidden_dims")}
    if network.description and network.description[0]["type"] == "conv2d":
        raise UserError(
            f"{path} begins with a convolution and does not say of what height and width: give the dictionary that ModelQuantizer takes an "
            "`input_shape`, as [1, 3, 224, 224]"
        )
    try:
        with torch.device("meta"):
            made = Network(network.description).eval()(torch.zeros(1, head["input_dim"]))  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path}: its layers take no rows of input_dim = {head['input_dim']!r} numbers ({error}): save the model again"
        ) from None
    widths = head["hidden_dims"]
    if list(made.shape) != [1, head["output_dim"]] or not isinstance(widths, list) or not all(isinstance(width, int) for width in widths):
        raise UserError(
            f"{path}: its layers make {list(made.shape)[1:]} numbers, not output_dim = {head['output_dim']!r}: save the model again"
        )
    return head


def _check_sizes(about: Any, weights: int) -> None:
    """Refuse sizes that the weights do not have, before memory is taken for them."""
    if isinstance(about, Mapping):
        for value in about.values():
            _check_sizes(value, weights)
    elif isinstance(about, list):
        for value in about:
            _check_sizes(value, weights)
    elif isinstance(about, int) and abs(about) > max(weights, 1 << 20):
        raise ValueError(f"{about} is larger than the model's {weights} weights")


def _load(module: torch.nn.Module, prefix: str, matrices: Mapping[str, PackedMatrix], others: Mapping[str, Any], path: Path) -> None:
    state = module.state_dict()
    found = {name.removeprefix(prefix): tensor for name, tensor in others.items() if name.startswith(prefix)}
    found |= {name.removeprefix(prefix): matrix.dense() for name, matrix in matrices.items() if name.startswith(prefix)}
    for name in sorted(state.keys() | found.keys()):
        if name not in found or name not in state or found[name].numel() != state[name].numel():
            raise UserError(f"{path / WEIGHTS}: {prefix}{name} is not what {CONFIG} asks for: save the model again")
    module.load_state_dict({name: found[name].view(tensor.shape) for name, tensor in state.items()}, assign=True)


def _settings(fusion: MultimodalFusion) -> dict[str, Any]:
    processors = {name: processor.settings for name, processor in fusion.processors.items()}
    return {"fusion_method": fusion.fusion_method, "common": fusion.common, "modalities": fusion.modalities, "processors": processors}


def _made(settings: Mapping[str, Any], weights: int) -> MultimodalFusion:
    """A fusion of these settings; `ValueError` where they ask for more weights than there are."""
    processors = {name: PROCESSORS[name](**arguments) for name, arguments in settings["processors"].items()}
    wide = sum(processor.width for processor in processors.values())
    table = processors["text"].vocab_size * processors["text"].embedding_dim if "text" in processors else 0
    if max(table, settings["common"] * wide if settings["fusion_method"] != "concat" else 0) > weights:
        raise ValueError(f"the fusion's sizes ask for more than the model's {weights} weights")
    return MultimodalFusion(settings["modalities"], settings["fusion_method"], common=settings["common"], **processors)


def _fusion_document(fusion: MultimodalFusion) -> dict[str, Any]:
    plain, matrices = layers.packed(fusion)
    others = {name: tensor.tolist() for name, tensor in plain.state_dict().items() if name not in matrices}
    digits = {
        name: {"weight_pentary": matrix.digits().tolist(), "weight_scale": matrix.scale.float().tolist()}
        for name, matrix in matrices.items()
    }
    tokenizer = _tokenizer(fusion).backend.to_str() if "text" in fusion.processors else None
    return {**_settings(fusion), "matrices": digits, "others": others, "tokenizer": tokenizer}


def _fusion_read(section: Any, path: Path) -> MultimodalFusion:
    try:
        count = sum(len(row) for matrix in section["matrices"].values() for row in matrix["weight_pentary"])
        fusion = _made(section, count)
        state = {name: torch.tensor(values, dtype=torch.float32) for name, values in section["others"].items()}
        for name, matrix in section["matrices"].items():
            digits, scale = torch.tensor(matrix["weight_pentary"], dtype=torch.int8), torch.tensor(matrix["weight_scale"])
            state[name] = PackedMatrix(ops.pack(digits), scale, digits.shape[1]).dense()
        fusion.load_state_dict(state)
        if "text" in fusion.processors:
            _give(fusion, Tokenizer(Backend.from_str(section["tokenizer"])))
    except Exception as error:  # the tokenizers' library raises bare Exception
        raise UserError(f"{path}: the section `fusion` is damaged ({error!r}): save the model again") from None
    return fusion


def _tokenizer(fusion: MultimodalFusion) -> Tokenizer:
    processor = fusion.processors["text"]
    assert isinstance(processor, TextProcessor)
    return processor.tokenizer


def _give(fusion: MultimodalFusion, tokenizer: Tokenizer) -> None:
    processor = fusion.processors["text"]
    assert isinstance(processor, TextProcessor)
    if tokenizer.vocab_size > processor.vocab_size:
        raise UserError(f"the tokenizer has {tokenizer.vocab_size} tokens, the model only {processor.vocab_size}: save the model again")
    processor.tokenizer = tokenizer
