"""Reads a directory of packed weights into `transformers`: importing this registers the method `quintet` of `quantization_config` there.

    import pipeline.conversion.transformers_quantizer
    model = AutoModelForCausalLM.from_pretrained(directory)

Without the import, transformers only warns, and leaves the matrices random.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from pipeline import models
from pipeline.quantization import storage
from pipeline.quantization.modules import PackedEmbedding, PackedMatrix, exchange


@register_quantization_config(storage.METHOD)
class QuintetConfig(QuantizationConfigMixin):
    """The section `quantization_config` as it is."""

    def __init__(self, **section: Any) -> None:
        self.quant_method = storage.METHOD
        for key, entry in section.items():
            setattr(self, key, entry)


class TiedHead(nn.Module):
    """The output matrix that is the embedding's; it has no tensors of its own."""

    def __init__(self, embedding: PackedEmbedding) -> None:
        super().__init__()
        self.shared = [embedding]  # in a list, so that it is not a second place of the same tensors

    def forward(self, x: Tensor) -> Tensor:
        return self.shared[0].project(x)


def _exchange(model: PreTrainedModel, matrices: Mapping[str, PackedMatrix]) -> None:
    parameters = dict(model.named_parameters())
    if model.config.tie_word_embeddings:
        model.set_output_embeddings(nn.Identity())
    exchange(model, {parameters[name]: matrix for name, matrix in matrices.items()})
    if model.config.tie_word_embeddings:
        model.set_output_embeddings(TiedHead(model.get_input_embeddings()))
        model.all_tied_weights_keys = {}


@register_quantizer(storage.METHOD)
class QuintetQuantizer(HfQuantizer):
    """Puts packed modules into the empty model; the file's tensors, which transformers loads by name, are unpacked by `storage`."""

    requires_calibration = True  # a float model is quantized by the pipeline, not by from_pretrained

    def _process_model_before_weight_loading(self, model: PreTrainedModel, checkpoint_files: Sequence[str], **_: Any) -> None:
        """Raises `UserError` for files that are damaged or do not fit config.json, naming file and tensor."""
        path = Path(checkpoint_files[0])
        with torch.device("cpu"):  # transformers makes its empty models elsewhere
            _, matrices, _ = storage.read(path.parent)
            self.unpacked = {name: (matrix, matrix.codes, matrix.scale) for name, matrix in matrices.items()}
            _exchange(model, matrices)
        tensors = models.read_tensors(path)
        for name, matrix in matrices.items():  # places of the file's shapes
            if storage.TENSOR in tensors:
                matrix._non_persistent_buffers_set |= {"codes", "scale"}  # nothing in the file has their names
            else:
                matrix.codes, matrix.scale = tensors[f"{name}.codes"], tensors[f"{name}.scale"]
        if storage.TENSOR in tensors:
            model.register_buffer(storage.TENSOR, tensors[storage.TENSOR])

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **_: Any) -> PreTrainedModel:
        model._buffers.pop(storage.TENSOR, None)
        for matrix, codes, scale in self.unpacked.values():
            matrix.register_buffer("codes", codes)
            matrix.register_buffer("scale", scale)
            matrix.arrange(matrix.form, matrix.activations)
        return model

    def get_state_dict_and_metadata(self, model: PreTrainedModel) -> tuple[dict[str, Tensor], dict[str, str]]:
        """What save_pretrained writes: the same as the stage `quantize`."""
        matrices = {name: matrix for name, (matrix, _, _) in self.unpacked.items()}
        others = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith((".codes", ".scale"))}
        self.quantization_config.__dict__.pop("matrices", None)  # of an older version, which was read
        self.quantization_config.__dict__.update(storage.describe(matrices))
        return storage.tensors_of(matrices, others), {"format": "pt"}

    def is_serializable(self) -> bool:
        return True

    @property
    def is_trainable(self) -> bool:
        return False
