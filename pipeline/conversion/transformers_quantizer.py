"""Reads a directory of packed weights into `transformers`: importing this registers the method `quintet` of `quantization_config` there.

    import pipeline.conversion.transformers_quantizer
    model = AutoModelForCausalLM.from_pretrained(directory)

Without the import, transformers only warns, and leaves the matrices random.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

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


@register_quantizer(storage.METHOD)
class QuintetQuantizer(HfQuantizer):
    """Puts packed modules into the empty model, which transformers then fills from the same file."""

    requires_calibration = True  # a float model is quantized by the pipeline, not by from_pretrained

    def _process_model_before_weight_loading(self, model: PreTrainedModel, checkpoint_files: Sequence[str], **_: Any) -> None:
        """Raises `UserError` for files that are damaged or do not fit config.json, naming file and tensor."""
        _, matrices, _ = storage.read(Path(checkpoint_files[0]).parent)
        parameters = dict(model.named_parameters())
        if tied := model.config.tie_word_embeddings:
            model.set_output_embeddings(nn.Identity())
        exchange(model, {parameters[name]: matrix for name, matrix in matrices.items()})
        if tied:
            model.set_output_embeddings(TiedHead(model.get_input_embeddings()))
            model.all_tied_weights_keys = {}

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **_: Any) -> PreTrainedModel:
        for part in model.modules():
            if isinstance(part, PackedMatrix):
                part.arrange(part.form, part.activations)
        return model

    def is_serializable(self) -> bool:
        return True

    @property
    def is_trainable(self) -> bool:
        return False
