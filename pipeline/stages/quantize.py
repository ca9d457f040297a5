"""Stage `quantize`: a trained model's matrices at five levels, packed, and what that cost."""

import torch

from pipeline import io, models, paths, quantization
from pipeline.models.base import Model
from pipeline.quantization import lsq, report, storage
from pipeline.quantization.modules import PackedMatrix
from pipeline.stages.runner import Stage
from pipeline.training import devices, tasks
from pipeline.training.checkpoints import Store
from pipeline.training.loop import Trainer


def run(stage: Stage) -> None:
    """Write the quantized model directory, its metrics and one row a matrix."""
    torch.set_num_threads(1)
    name = str(stage.target)
    source, target = paths.model(name), paths.quantized(name)
    module = models.load(source)
    stage.events.run(module.config["quintet"]["training_key"])
    weights = {key: parameter.detach().clone() for key, parameter in module.quantizable().items()}
    others = module.state_dict().keys() - weights.keys()
    packed = quantization.quantize(weights, str(source / "model.safetensors"))
    if stage.model.quantization.method == "qat":
        module, packed = _learn(stage, module, packed)
    state = module.state_dict()
    config = {**module.config, "quantization_config": storage.describe(packed)}
    tensors = storage.tensors_of(packed, {key: state[key] for key in others})
    models.save(tensors, config, stage.out(target / "model.safetensors"), stage.out(target / "config.json"))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        io.write_bytes(stage.out(target / file), (source / file).read_bytes())
    table = report.rows(weights, packed)
    io.write_json(stage.out(paths.metrics(name, "quantize")), {"quantized": report.summary(weights, packed, table)})
    io.write_csv(stage.out(paths.plot(name, "quantize")), table)


def _learn(stage: Stage, module: Model, start: dict[str, PackedMatrix]) -> tuple[Model, dict[str, PackedMatrix]]:
    """Train all weights and scales further at five levels, from those of least squared error; or go on where a stopped run was."""
    settings, ready, seed = stage.model.quantization, paths.ready(stage.dataset), stage.config.seed
    device = devices.prepare(settings.training.device, settings.training.threads)
    task = tasks.of(ready, io.read_json(ready / "dataset.json"), settings.training, module.context, seed)
    if settings.distillation:
        task.learn_from(models.load(paths.model(str(stage.target))).to(device), settings.distillation)
    lsq.attach(module.to(device), start, settings.mask_width)
    store, title = Store(paths.private() / "state" / stage.state_key), f"quantize {stage.target}"
    with store.locked(f"this quantization of {stage.target}"):
        Trainer(module, task, seed, store, stage.events, title, prefix="quantize/").run()
    stage.afterwards.append(store.remove)
    return module.cpu(), lsq.packed(module)
