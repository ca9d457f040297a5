"""Stage `train`: a model directory, its losses and its learning curve."""

import shutil
from pathlib import Path
from typing import Any

from pipeline import io, models, paths
from pipeline.data import tokenizers
from pipeline.data.ready import description
from pipeline.stages.runner import Stage
from pipeline.training import devices, tasks
from pipeline.training.checkpoints import Store
from pipeline.training.loop import Trainer


def run(stage: Stage) -> None:
    """Train, or go on where a stopped run was; publish the best weights, train.json and train.csv."""
    block, ready = stage.model, paths.ready(stage.dataset)
    device = devices.prepare(block.training.device, block.training.threads)
    dataset = description(ready)
    task = tasks.of(ready, dataset, block.training, block.architecture.context, stage.config.seed, block.architecture.recurrent)
    module = models.create(describe(block, dataset, ready, stage.training_key), stage.config.seed).to(device)
    store = Store(paths.private() / "state" / stage.state_key)
    stage.events.run(stage.training_key)
    for split, facts in dataset["splits"].items():
        counts = {name: count for name, count in facts.items() if name != "sha256"}
        stage.events.dataset(stage.dataset, ready / f"{split}.safetensors", split, counts)
    with store.locked(f"this training of {stage.target}"):
        trainer = Trainer(module, task, stage.config.seed, store, stage.events, f"train {stage.target}")
        trainer.run()
        _publish(stage, trainer, ready)
    stage.afterwards.append(store.remove)


def describe(block: Any, dataset: dict[str, Any], ready: Path, training_key: str) -> dict[str, Any]:
    """The config.json of a model of params.yaml, whose ready data set and its dataset.json are given."""
    ours = {"dataset": block.dataset, "task": dataset["kind"], "training_key": training_key}
    ours |= {"recurrent": True} if block.architecture.recurrent else {}
    coding: dict[str, Any] = {key: dataset[key] for key in ("codec", "features", "classes") if key in dataset}
    configuration = models.family(block.family).configuration
    return dict(configuration(block.architecture, dataset["vocab_size"], tokenizers.load(ready).eos, {**ours, **coding}))


def _publish(stage: Stage, trainer: Trainer, ready: Path) -> None:
    name, module = str(stage.target), trainer.module
    folder = paths.model(name)
    models.save(module.state_dict(), module.config, stage.out(folder / "model.safetensors"), stage.out(folder / "config.json"))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(ready / file, stage.out(folder / file))
    io.write_json(stage.out(paths.metrics(name, "train")), trainer.results())
    io.write_csv(stage.out(paths.plot(name, "train")), trainer.progress.curve)
