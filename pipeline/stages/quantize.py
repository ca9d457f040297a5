"""Stage `quantize`: a trained model's matrices at five levels, packed, and what that cost."""

import torch

from pipeline import io, models, paths, quantization
from pipeline.quantization import report, storage
from pipeline.stages.runner import Stage


def run(stage: Stage) -> None:
    """Write the quantized model directory, its metrics and one row a matrix."""
    torch.set_num_threads(1)
    name = str(stage.target)
    source, target = paths.model(name), paths.quantized(name)
    module = models.load(source)
    stage.events.run(module.config["quintet"]["training_key"])
    weights = {key: parameter.detach() for key, parameter in module.quantizable().items()}
    packed = quantization.quantize(weights, str(source / "model.safetensors"))
    others = {key: tensor for key, tensor in module.state_dict().items() if key not in weights}
    config = {**module.config, "quantization_config": storage.describe(packed)}
    models.save(storage.tensors_of(packed, others), config, stage.out(target / "model.safetensors"), stage.out(target / "config.json"))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        io.write_bytes(stage.out(target / file), (source / file).read_bytes())
    table = report.rows(weights, packed)
    io.write_json(stage.out(paths.metrics(name, "quantize")), {"quantized": report.summary(weights, packed, table)})
    io.write_csv(stage.out(paths.plot(name, "quantize")), table)
