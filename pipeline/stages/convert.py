"""Stage `convert`: the quantized model in each of its formats, read back in the format's own runtime and compared."""

import math
from pathlib import Path

import torch

from pipeline import conversion, io, models, paths, quantization
from pipeline.conversion import parity, weights
from pipeline.conversion.prompts import Prompts, take
from pipeline.models.base import Model
from pipeline.progress import say
from pipeline.stages.runner import Stage

SPIKING = conversion.Bounds(max_logit_difference=math.inf, kl_divergence=5e-3, greedy_equal=0.75)
"""Of a brain, in any format: a sum that is rounded otherwise can flip a spike, and then a logit differs by what the spike is worth."""


def run(stage: Stage) -> None:
    """Write exports/M/FORMAT and metrics/M/convert.json; raises `parity.ParityError` for an export that is not the model it was made of."""
    torch.set_num_threads(1)
    name, ready = str(stage.target), paths.ready(stage.dataset)
    source = conversion.Source(name, paths.quantized(name), ready)
    quantized, dense = quantization.load(source.model, "float"), weights.dense(source.model)
    stage.events.run(dense.config["quintet"]["training_key"])
    family = dense.config["quintet"]["family"]
    converters = {format: conversion.converter(family, format) for format in stage.model.formats}
    prompts = take(ready, dense.config)
    figures = {}
    if conversion.refusal(family, "huggingface") is None:
        theirs = conversion.converter(family, "huggingface")
        figures["model_directory"] = _compare(models.load(paths.model(name)), theirs, paths.model(name), prompts)
    stage.out(paths.exports(name)).mkdir()
    for format, converter in converters.items():
        folder = stage.out(paths.exports(name) / format)
        folder.mkdir()
        converter.export(dense, source, folder)
        figures[format] = _compare(quantized, converter, folder, prompts)
    io.write_json(stage.out(paths.metrics(name, "convert")), figures)


def _compare(reference: Model, converter: conversion.Converter, folder: Path, prompts: Prompts) -> dict[str, float]:
    found = parity.compare(reference, converter.load(folder), prompts)
    say(f"{folder}: logits within {found.max_logit_difference:.2g}, {found.greedy_equal:.0%} of greedy continuations equal")
    spiking = reference.config["quintet"]["family"] == "neurogen"
    parity.require(found, SPIKING if spiking else converter.BOUNDS, str(folder))
    return {**found._asdict(), "bytes": (folder / converter.WEIGHTS).stat().st_size}
