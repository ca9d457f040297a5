"""`python -m pipeline study ptq`: quantization without training, each step left out in turn."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipeline import config as configuration
from pipeline import models, paths
from pipeline.data.ready import description
from pipeline.models.base import Model
from pipeline.schema.quantization import Quantization
from pipeline.schema.training import Training
from pipeline.stages.quantize import Quantized, Quantizer
from pipeline.training import tasks
from pipeline.training.checkpoints import Store

STEPS = ("rotation", "match", "residual", "outputs", "search", "restarts", "feedback", "order", "descent", "refit")
COLUMNS = ("steps", "loss", "above float", "output SNR, dB")


def run(name: str, tokens: int) -> None:
    """Print the table; raises `UserError` for an unknown model and one that is not trained."""
    config = configuration.load()
    if name not in config.models:
        raise configuration.unknown_target("model", name, sorted(config.models))
    torch.set_num_threads(1)
    block, ready = config.models[name], paths.ready(config.models[name].dataset)
    module = models.load(paths.model(name))
    task = tasks.of(ready, description(ready), Training(), module.context, config.seed, module.recurrent)

    def loss(model: Model) -> float:
        return task.evaluate(model.eval(), "validation", tokens or None)["loss"]

    base = loss(module)
    table = Table(title=f"{name}: float loss {base:.4f} nats", title_justify="left", box=SIMPLE_HEAD)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "steps" else "right")
    for title, settings in variants(block.quantization):
        result = quantize(settings, ready, config.seed, module, title, str(paths.model(name)))
        ratios = [ratio for ratio in result.output_snr.values() if ratio is not None]
        snr = f"{sum(ratios) / len(ratios):.2f}" if ratios else ""
        cost = loss(result.module)
        table.add_row(title, f"{cost:.4f}", f"{cost - base:+.4f}", snr)
    Console(highlight=False).print(table)


def quantize(settings: Any, ready: Path, seed: int, module: Model, title: str, origin: str) -> Quantized:
    """A model at few levels by settings of `by_ptq`; raises `UserError`, which begins with `origin` where weights are not finite."""
    unused = Store(paths.private() / "state" / "ablation")  # nothing is trained
    return Quantizer(settings, ready, seed, unused, None, title).run(module, origin)


def variants(block: Quantization) -> Iterator[tuple[str, Any]]:
    """Titles and settings: all steps, all but one, and none at all."""
    yield "all", by_ptq(block, dict.fromkeys(STEPS, True))
    for step in STEPS:
        yield f"without {step}", by_ptq(block, {**dict.fromkeys(STEPS, True), step: False})
    yield "none (least squared error)", by_ptq(block, dict.fromkeys(STEPS, False))


def by_ptq(block: Quantization, steps: Mapping[str, bool]) -> Any:
    """The block with its levels, but without training, and these steps of `ptq` as given."""
    plain = {"method": "ptq", "training": None, "final_steps": 0, "activations": "float"}
    return block.model_copy(update={**plain, "ptq": block.ptq.model_copy(update=dict(steps))})
