"""torch.export with packed weights: a program with our operations (`quintet::linear`, `quintet::embedding`), from `import pipeline.ops`."""

from pathlib import Path

from torch import nn

import pipeline.ops  # noqa: F401  a program that has these operations in it cannot be read without them
from pipeline import quantization
from pipeline.conversion import Bounds, Source, exported_program
from pipeline.models.base import Model
from pipeline.quantization.modules import PackedEmbedding, PackedFanIn, PackedMatrix

BOUNDS = Bounds(max_logit_difference=1e-3, kl_divergence=1e-6, greedy_equal=0.9)
WEIGHTS = exported_program.WEIGHTS
FORMS = {5: "dense"}
"""The smallest order of the weights that the kernels have, not the fastest here: what is written must not depend on where."""

load = exported_program.load


def export(module: Model, source: Source, target: Path) -> None:
    """Write model.pt2, with the tokenizer and the configuration beside it."""
    packed = quantization.load(source.model)
    packed.config = module.config
    by_row = {id(part.weight) for part in packed.modules() if isinstance(part, PackedEmbedding | PackedFanIn)}
    for part in packed.modules():
        if isinstance(part, PackedMatrix):
            part.arrange(FORMS.get(part.levels, part.form), "float")
            _drop(part, "scale", *(() if id(part) in by_row else ("codes",)))
    exported_program.write(packed, source, target)


def _drop(part: nn.Module, *names: str) -> None:
    """Take out buffers that the products do not read."""
    for name in names:
        delattr(part, name)
