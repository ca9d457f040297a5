"""Stage `train`: a model directory, its losses and its learning curve."""

import shutil
from pathlib import Path
from typing import Any

from pipeline import io, models, paths
from pipeline.data import tokenizers
from pipeline.stages.runner import Stage
from pipeline.training import devices, tasks
from pipeline.training.checkpoints import Store
from pipeline.training.loop import Trainer


def run(stage: Stage) -> None:
    """Train, or go on where a stopped run was; publish the best weights, train.json and train.csv."""
    block, ready = stage.model, paths.ready(stage.dataset)
    device = devices.prepare(block.training.device, block.training.threads)
    dataset = io.read_json(ready / "dataset.json")
    task = tasks.of(ready, dataset, block.training, block.architecture.max_position_embeddings, stage.config.seed)
    module = models.create(_describe(stage, dataset, block.architecture), stage.config.seed).to(device)
    store = Store(paths.private() / "state" / stage.state_key)
    stage.events.run(stage.training_key)
    for split, facts in dataset["splits"].items():
        stage.events.dataset(f"{stage.dataset}/{split}", facts["sha256"], dataset["source"]["kind"], split)
    with store.locked(f"this training of {stage.target}"):
        trainer = Trainer(module, task, stage.config.seed, store, stage.events, f"train {stage.target}")
        trainer.run()
        _publish(stage, trainer, ready)
    stage.afterwards.append(store.remove)


def _describe(stage: Stage, dataset: dict[str, Any], architecture: Any) -> dict[str, Any]:
    """The model's config.json."""
    ours = {"dataset": stage.dataset, "task": dataset["kind"], "training_key": stage.training_key}
    codec = {"codec": dataset["codec"]} if "codec" in dataset else {}
    eos = tokenizers.load(paths.ready(stage.dataset)).eos
    configuration = models.family(stage.model.family).configuration
    return dict(configuration(architecture, dataset["vocab_size"], eos, {**ours, **codec}))


def _publish(stage: Stage, trainer: Trainer, ready: Path) -> None:
    name, module = str(stage.target), trainer.module
    folder = paths.model(name)
    models.save(module.state_dict(), module.config, stage.out(folder / "model.safetensors"), stage.out(folder / "config.json"))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(ready / file, stage.out(folder / file))
    io.write_json(stage.out(paths.metrics(name, "train")), trainer.results())
    io.write_csv(stage.out(paths.plot(name, "train")), trainer.progress.curve)
