"""Samples of several modalities to one vector: processors for each, and a fusion that learns along with the model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.apps.pentary.model import PentaryModel
from pipeline.apps.pentary.processors import AudioProcessor, ImageProcessor, Processor, TextProcessor
from pipeline.errors import UserError
from pipeline.models.base import Weights
from pipeline.models.pentary.fusion import METHODS, Fusion
from pipeline.models.pentary.layers import initialize
from pipeline.models.pentary.network import Network

Array = npt.NDArray[Any]
Samples = Mapping[str, Any] | Sequence[Mapping[str, Any]]
MODALITIES = ("text", "image", "audio")


class MultimodalFusion(Weights):
    """Text, images and audio, or any subset of them, to a vector of `get_output_shape()[0]` numbers at five levels.

    fusion_method: "concat", "add", "multiply", "gated" or "attention" (`pipeline.models.pentary.fusion`); all but the first project each
    modality to `common` numbers. text, image, audio: processors other than the usual ones. seed: of the first weights. `UserError` for a
    modality or method that is none.

    The document lets add and multiply require matching shapes, which no two modalities have; here they are projected. Its text is a table
    of 512 x 128 numbers a sample and its images 3 x 224 x 224, nearly all of which is padding and detail that no MLP uses: here a text is
    the mean of its tokens' embeddings, which learn, and an image is made 32 x 32; other sizes are arguments of the processors.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        fusion_method: str = "concat",
        *,
        common: int = 64,
        text: TextProcessor | None = None,
        image: ImageProcessor | None = None,
        audio: AudioProcessor | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name in modalities:
            if name not in MODALITIES or list(modalities).count(name) > 1:
                raise UserError(f"MultimodalFusion: modalities = {list(modalities)}: name some of {', '.join(MODALITIES)}, each once")
        if not modalities or fusion_method not in METHODS:
            what = f"fusion_method {fusion_method!r} is none of {', '.join(METHODS)}" if modalities else "name at least one modality"
            raise UserError(f"MultimodalFusion: {what}")
        usual: dict[str, Processor] = {
            "text": text or TextProcessor(),
            "image": image or ImageProcessor(),
            "audio": audio or AudioProcessor(),
        }
        self.processors = {name: usual[name] for name in modalities}
        self.modalities, self.fusion_method, self.common = list(modalities), fusion_method, common
        self.encoders = torch.nn.ModuleList(Network(processor.encoder()) for processor in self.processors.values())
        self.fusion = Fusion({name: processor.width for name, processor in self.processors.items()}, fusion_method, common)
        generator = torch.Generator().manual_seed(seed)
        for encoder in self.encoders:
            initialize(encoder, generator)
        self.fusion.initialize(generator)
        self.eval()

    def fit(self, samples: Samples) -> None:
        """Learn from training samples what a processor must know before the network learns: the tokenizer."""
        columns, _ = self._columns(samples)
        for name, processor in self.processors.items():
            processor.fit([sample for sample in columns[name] if sample is not None])

    def inputs(self, samples: Samples) -> Tensor:
        """float32 [N, F]: each modality's features side by side, then a 1 or 0 for each modality that is there or is not.

        `samples` is {modality: N samples}, or N dictionaries; what is not in one, or None, is absent. `UserError` for samples that cannot
        be read, for none at all, and for a sample without any modality.
        """
        columns, count = self._columns(samples)
        presence_NM = torch.tensor([[float(columns[name][i] is not None) for name in self.modalities] for i in range(count)])
        empty = (presence_NM.sum(1) == 0).nonzero().flatten().tolist() if count else [0]
        if empty:
            raise UserError(f"sample {empty[0]} has none of the modalities {', '.join(self.modalities)}: give at least one")
        parts = []
        for i, (name, processor) in enumerate(self.processors.items()):
            part = torch.zeros(count, processor.size)
            rows = presence_NM[:, i].nonzero().flatten()
            if len(rows):
                part[rows] = processor.features(_chosen(columns[name], rows.tolist()))
            parts.append(part)
        return torch.cat([*parts, presence_NM], 1)

    def forward(self, inputs_NF: Tensor) -> Tensor:
        """What `inputs` made to fused vectors [N, width]."""
        sizes = [processor.size for processor in self.processors.values()]
        *parts, presence_NM = inputs_NF.split([*sizes, len(sizes)], 1)
        fused: Tensor = self.fusion([encoder(part) for encoder, part in zip(self.encoders, parts, strict=True)], presence_NM)
        return fused

    def hide(self, inputs_NF: Tensor, share: float, generator: torch.Generator) -> Tensor:
        """The same inputs with each modality that is there hidden by the probability `share`; a sample that would lose all keeps all.

        A network that learns so answers with any subset (modality dropout: Neverova et al. 2016, arXiv:1501.00102).
        """
        presence_NM = inputs_NF[:, -len(self.modalities) :]
        kept_NM = presence_NM * (torch.rand(presence_NM.shape, generator=generator) >= share)
        left_NM = torch.where(kept_NM.sum(1, keepdim=True) > 0, kept_NM, presence_NM)
        return torch.cat([inputs_NF[:, : -len(self.modalities)], left_NM], 1)

    @torch.no_grad()
    def process(self, data: Mapping[str, Any]) -> Array:
        """One sample (a text, an image, a recording by their modalities' names) to its fused vector [width], float32."""
        return np.asarray(self(self.inputs([data]))[0].numpy())

    def get_output_shape(self) -> tuple[int, ...]:
        return (self.fusion.width,)

    @property
    def features(self) -> int:
        """F of `inputs`."""
        return sum(processor.size for processor in self.processors.values()) + len(self.processors)

    def _columns(self, samples: Samples) -> tuple[dict[str, Any], int]:
        """{modality: N samples}, each with None where it is absent."""
        if not isinstance(samples, Mapping):
            return {name: [sample.get(name) for sample in samples] for name in self.modalities}, len(samples)
        lengths = {name: len(column) for name, column in samples.items() if name in self.modalities}
        if len(set(lengths.values())) > 1:
            raise UserError(f"the modalities have different numbers of samples ({lengths}): give as many of each, None where one is absent")
        count = next(iter(lengths.values()), 0)
        return {name: samples.get(name, [None] * count) for name in self.modalities}, count


class MultimodalModel(Weights):
    """A fusion and the model that it feeds, as one module: inputs [N, F] of the fusion, or fused vectors, to outputs."""

    def __init__(self, fusion: MultimodalFusion, model: PentaryModel) -> None:
        super().__init__()
        width = fusion.get_output_shape()[0]
        if width != model.input_dim:
            raise UserError(
                f"the fusion of {', '.join(fusion.modalities)} makes {width} numbers, but the model takes {model.input_dim}: "
                f"build PentaryModel(input_dim={width}, ...)"
            )
        self.fusion, self.model = fusion, model

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model(self.fusion(inputs) if inputs.shape[1] == self.fusion.features else inputs)


def _chosen(column: Any, rows: list[int]) -> Any:
    return column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows]
