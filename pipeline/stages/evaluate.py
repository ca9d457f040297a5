"""Stage `evaluate`: the float model, the packed one and every export, each in its own runtime, on the test split."""

from collections.abc import Iterator
from pathlib import Path

import torch

from pipeline import conversion, evaluation, io, models, paths, quantization
from pipeline.models.base import Model
from pipeline.progress import say
from pipeline.stages.runner import Stage

SHOWN = ("float", "quantized")
"""Sections that appear in the plot and in the samples; the exports differ from `quantized` by rounding only."""


def run(stage: Stage) -> None:
    """Write the metrics, the samples and the plot's rows."""
    torch.set_num_threads(1)
    name = str(stage.target)
    config = models.read_config(paths.model(name))
    stage.events.run(config["quintet"]["training_key"])
    judge = evaluation.judge(config, paths.ready(stage.dataset), stage.model.evaluation, stage.config.seed)
    judged_files = [
        [str(path), value] for path, value in sorted(stage.inputs.sha256.items())
    ]  # a list, which DVC's tables of metrics leave out
    metrics: dict[str, object] = {"baselines": judge.baselines(), "inputs": judged_files}
    weights = models.build(config).parameter_count()
    judged = {}
    for section, model, file in _contenders(name, config["quintet"]["family"]):
        verdict, size = judge.verdict(model), file.stat().st_size
        metrics[section] = {**verdict.figures, "bytes": size, "bits_per_weight": 8 * size / weights}
        stage.events.metrics({f"speed.{section}_{unit}": rate for unit, rate in verdict.speed.items()})
        say(f"evaluate {name}: {section}  " + "  ".join(f"{key} {rate:,.0f}" for key, rate in verdict.speed.items()))
        if section in SHOWN:
            judged[section] = (model, verdict)
    io.write_json(stage.out(paths.metrics(name, "evaluate")), metrics)
    io.write_bytes(stage.out(paths.samples(name)), judge.samples(judged).encode())
    io.write_csv(stage.out(paths.plot(name, "evaluate")), judge.table({section: verdict for section, (_, verdict) in judged.items()}))


def _contenders(name: str, family: str) -> Iterator[tuple[str, Model, Path]]:
    """Section of the metrics, model, and the file of its weights."""
    yield "float", models.load(paths.model(name)), paths.model(name) / "model.safetensors"
    yield "quantized", quantization.load(paths.quantized(name)), paths.quantized(name) / "model.safetensors"
    for format in sorted(io.read_json(paths.metrics(name, "convert")).keys() - {"model_directory"}):
        converter, folder = conversion.converter(family, format), paths.exports(name) / format
        yield format, conversion.read(family, format, folder), folder / converter.WEIGHTS
