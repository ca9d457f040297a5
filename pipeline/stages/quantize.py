"""Stage `quantize`: a trained model's matrices at few levels, packed, and what that cost."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import io, models, paths, quantization, rng
from pipeline.data.ready import description
from pipeline.errors import UserError
from pipeline.models.base import Model
from pipeline.progress import say
from pipeline.quantization import budget, lsq, ptq, report, storage
from pipeline.quantization.modules import PackedMatrix
from pipeline.quantization.ptq.threads import give_back_memory
from pipeline.schema.training import Training
from pipeline.stages.runner import Stage
from pipeline.training import devices, state, tasks
from pipeline.training.checkpoints import Store
from pipeline.training.loop import Trainer

CALIBRATION = Training(batch_size=64)
"""How calibration sequences are drawn: as a training's batches are."""
CALIBRATION_TOKENS = 512
"""Tokens that are calibrated on at a time: two such batches are in memory together."""


@dataclass
class Quantized:
    """What came of a model: a module that computes with what its matrices now stand for, they themselves, and what they were before."""

    module: Model
    others: dict[str, Tensor]
    """What is stored as it is."""
    packed: dict[str, PackedMatrix]
    weight_snr: dict[str, float | None]
    """Signal-to-noise ratios of the weights in dB."""
    output_snr: dict[str, float | None]
    """The same of the matrices' outputs, where they were measured."""
    tokens: int
    """Tokens that it was trained on at few levels."""


def run(stage: Stage) -> None:
    """Write the quantized model directory, its metrics and one row a matrix."""
    torch.set_num_threads(1)
    name, settings = str(stage.target), stage.model.quantization
    folder, target = paths.model(name), paths.quantized(name)
    source = [models.load(folder)]
    stage.events.run(source[0].config["quintet"]["training_key"])
    store = Store(paths.private() / "state" / stage.state_key)
    with store.locked(f"this quantization of {name}"):
        quantizer = Quantizer(settings, paths.ready(stage.dataset), stage.config.seed, store, stage.events, f"quantize {name}")
        result = quantizer.run(source.pop(), str(folder / "model.safetensors"))  # which is then the only one that holds it
    stage.afterwards.append(store.remove)
    description = {**storage.describe(result.packed), "activations": settings.activations}
    config = {**result.module.config, "quantization_config": description}
    tensors = storage.tensors_of(result.packed, result.others)
    models.save(tensors, config, stage.out(target / "model.safetensors"), stage.out(target / "config.json"))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        io.write_bytes(stage.out(target / file), (folder / file).read_bytes())
    table = report.rows(result.packed, result.weight_snr, result.output_snr)
    size = stage.out(target / "model.safetensors").stat().st_size
    metrics = {**report.summary(result.packed, table), "tokens": result.tokens}
    metrics["bits_per_weight_on_disk"] = report.on_disk(size, result.packed, result.others)
    io.write_json(stage.out(paths.metrics(name, "quantize")), {"quantized": metrics})
    io.write_csv(stage.out(paths.plot(name, "quantize")), table)


class Quantizer:
    """Makes few levels of a float model as `settings` (the block `quantization`) says.

    `ready` is its data set; trainings keep their state in `store`, which the caller locks, and write curves to `events`.
    """

    def __init__(self, settings: Any, ready: Path, seed: int, store: Store, events: Any, title: str) -> None:
        self.settings, self.ready, self.seed, self.store, self.events, self.title = settings, ready, seed, store, events, title

    def run(self, source: Model, origin: str) -> Quantized:
        """Quantize a copy of `source`; raises `UserError`, which begins with `origin` where weights are not finite."""
        s = self.settings
        quantization.require_finite(source.quantizable(), origin)
        module = self._start(source)
        teacher = source if s.training is not None else None
        del source  # a large model should not lie in memory twice: unless it teaches, or the caller keeps it, it is gone now
        give_back_memory()
        levels = self._levels(module)
        others = module.state_dict().keys() - levels.keys()
        weights = {name: parameter.detach().clone() for name, parameter in module.quantizable().items()} if teacher else {}
        if self._by_ptq():
            packed, weight_snr, output_snr = ptq.quantize(module, *self._calibration(module), levels, s.ptq)
        else:
            packed = quantization.quantize(module.quantizable(), origin, levels)
            matrices = module.quantizable()
            weight_snr, output_snr = report.weight_snr(matrices, packed), {}
            module.load_state_dict({name: matrix.dense().view_as(matrices[name]) for name, matrix in packed.items()}, strict=False)
        tokens = 0
        if teacher is not None:
            module.load_state_dict({**module.state_dict(), **weights})
            module, packed, tokens = self._learn(module, teacher, packed)
            weight_snr, output_snr = report.weight_snr(weights, packed), {}
        state = module.state_dict()
        return Quantized(module, {name: state[name] for name in others}, packed, weight_snr, output_snr, tokens)

    def _by_ptq(self) -> bool:
        return self.settings.method == "ptq" or (self.settings.method, self.settings.start) == ("qat", "ptq")

    def _start(self, source: Model) -> Model:
        """What is to be quantized: a model of its own."""
        s = self.settings
        if s.method == "qat" and s.start == "scratch":
            return models.create(source.config, self.seed)
        module = ptq.rotate(source, self.seed) if self._by_ptq() and s.ptq.rotation else source
        return copy.deepcopy(module) if module is source else module

    def _levels(self, module: Model) -> dict[str, int]:
        """Levels of each matrix, by its name or for a total of bits."""
        matrices = module.quantizable()
        if self.settings.bits is None:
            edges = matrices.keys() - module.hidden_matrices().keys()
            return {name: self.settings.levels_of(name, name in edges) for name in matrices}
        shapes = {name: (matrix.shape[0], matrix.shape[1]) for name, matrix in matrices.items()}
        try:
            return budget.choose(budget.sensitivity(module, self._calibration(module)[1]), shapes, self.settings.bits)
        except ValueError as error:
            raise UserError(f"{self.title}: quantization.{error}: raise it") from None

    def _calibration(self, module: Model) -> tuple[list[Tensor], list[Tensor]]:
        """Tokens to calibrate on and tokens to measure on, out of the training split; every sequence at most once."""
        task, sizes = self._task(module, CALIBRATION, "calibration"), (self.settings.ptq.calibration, self.settings.ptq.held_out)
        batches = -(-sum(sizes) // task.sequences)
        drawn = torch.cat([task.batch(step).inputs for step in range(batches)])[: sum(sizes)]
        first, second = drawn.split(sizes)
        size = max(1, CALIBRATION_TOKENS // module.context)
        return list(first.split(size)), list(second.split(size))

    def _task(self, module: Model, settings: Training, stream: str) -> tasks.Task:
        """The model's task on sequences of its own."""
        dataset = description(self.ready)
        return tasks.of(self.ready, dataset, settings, module.context, rng.derive(self.seed, stream), module.recurrent)

    def _learn(self, module: Model, teacher: Model, start: dict[str, PackedMatrix]) -> tuple[Model, dict[str, PackedMatrix], int]:
        """Train on at few levels from `start`, or go on where a stopped run was: weights and scales first, scales and norms last."""
        s, device = self.settings, devices.prepare(self.settings.training.device, self.settings.training.threads)
        lsq.attach(module.to(device), start, s.mask_width, s.activations)
        tokens = 0
        if s.method == "qat":
            tokens = self._run(self._trainer(module, teacher.to(device), s.training, "training"))
        if s.final_steps:
            tokens += self._final(module, teacher.to(device))
        return module.cpu(), lsq.packed(module), tokens

    def _final(self, module: Model, teacher: Model) -> int:
        """Let scales and norms learn alone, and take that back where the validation split gets no better by it; returns its tokens."""
        s, steps = self.settings.training, self.settings.final_steps
        lsq.freeze(module)
        last = {"steps": steps, "epochs": None, "evaluate_every": steps, "optimizer": "adamw"}
        last |= {"warmup_steps": min(s.warmup_steps, steps // 10)}
        trainer = self._trainer(module, teacher, s.model_copy(update=last), "final")
        before, task = state.weights(module), trainer.task
        with devices.products(module.device, s.precision):
            score = task.score(task.evaluate(module.eval(), "validation", s.validation_tokens or None))
        tokens = self._run(trainer)
        best = trainer.progress.best_score
        if best is None or best >= score:
            module.load_state_dict(before)
            say(f"{self.title} (final): no better on the validation split than before, so its {steps} steps are taken back")
        return tokens

    def _trainer(self, module: Model, teacher: Model, settings: Training, phase: str) -> Trainer:
        task = self._task(module, settings, f"quantize {phase}")
        if self.settings.distillation:
            task.learn_from(teacher, self.settings.distillation)
        store, prefix = Store(self.store.folder / phase), "quantize/" if phase == "training" else "quantize/final/"
        return Trainer(module, task, self.seed, store, self.events, f"{self.title} ({phase})", prefix)

    def _run(self, trainer: Trainer) -> int:
        """Returns the tokens that it learnt from."""
        trainer.run()
        return trainer.progress.step * trainer.task.tokens_per_step
