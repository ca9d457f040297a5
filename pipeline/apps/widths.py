"""`python -m pipeline study levels`: one model at several numbers of levels, trained on the same tokens, against its bits on disk.

For each seed a float model trains for the block `training`; each number of levels starts from it and trains for the block `quantization`;
`float`, what they are compared with, trains from scratch for as many steps as both. All matrices have the same number of levels, embeddings
too. Each finished run is a file in the folder.
"""

import contextlib
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipeline import config as configuration
from pipeline import io, models, paths, tracking
from pipeline.data.ready import description
from pipeline.errors import UserError
from pipeline.models.base import Model
from pipeline.ops.reference import CODES
from pipeline.progress import say
from pipeline.quantization import storage
from pipeline.schema.quantization import Quantization
from pipeline.schema.training import Training
from pipeline.stages.quantize import Quantizer
from pipeline.stages.train import describe
from pipeline.tracking import location
from pipeline.training import devices, tasks
from pipeline.training.checkpoints import Store
from pipeline.training.loop import Trainer

COLUMNS = ("levels", "bits/weight on disk", "validation loss", "deviation", "above float", "tokens", "seeds")


def run(name: str, folder: Path, contenders: list[str], seeds: int, tokens: int) -> None:
    """Do the runs that are not done, then write study.csv and study.svg and print the table; raises `UserError` for wrong arguments."""
    study = Study(name, folder, tokens)
    for contender in contenders:
        if contender != "float" and contender not in map(str, CODES):
            raise UserError(f"--levels: {contender!r} is not one of {', '.join(map(str, CODES))}, float: leave it out")
    for seed in range(1, seeds + 1):
        for contender in contenders:
            study.contend(contender, seed)
    rows = [study.row(contender, seeds) for contender in contenders]
    float_loss = next((row["validation loss"] for row in rows if row["levels"] == "float"), None)
    rows = [{**row, "above float": None if float_loss is None else row["validation loss"] - float_loss} for row in rows]
    rows = [{column: row[column] for column in COLUMNS} for row in rows]
    io.write_csv(folder / "study.csv", rows)
    draw(rows, folder / "study.svg")
    show(name, rows)
    study.summarize(rows)


class Study:
    """The runs of one model, in `folder`."""

    def __init__(self, name: str, folder: Path, tokens: int) -> None:
        config = configuration.load()
        if name not in config.models:
            raise configuration.unknown_target("model", name, sorted(config.models))
        self.name, self.folder, self.tokens, self.block = name, folder, tokens, config.models[name]
        if self.block.quantization.training is None:
            raise UserError(f"params.yaml: models.{name}.quantization has no block training, which a study of levels needs: add it")
        self.ready = paths.ready(self.block.dataset)
        self.dataset = description(self.ready)
        self.key = io.digest([name, "study", self.block.model_dump(mode="json"), tokens])[:16]
        self.device = devices.prepare(self.block.training.device, self.block.training.threads)
        with self._log("study", 0) as events:
            events.tags({"mlflow.runName": f"{name}: study of levels"})

    def contend(self, contender: str, seed: int) -> None:
        """One run, where its result is not there yet."""
        result = self._result(contender, seed)
        if result.exists():
            if io.read_json(result)["key"] != self.key:
                raise UserError(f"{result} is of other parameters: name another --folder, or remove this one")
            return
        out = result.parent / contender
        with self._log(contender, seed) as events:
            events.tags({"parent_key": self.key, "mlflow.runName": f"{self.name}: {contender}, seed {seed}"})
            own: dict[str, float] = {}
            if contender == "float":
                module, steps = self._float(seed, self._steps(), out, events), self._steps()
            else:
                module, steps, own = self._quantized(int(contender), seed, out, events)
            task = self._task(module, self.block.training, seed)
            figures = task.evaluate(module.to(self.device).eval(), "validation", self.tokens or None)
            size = (out / "model.safetensors").stat().st_size
            bits = 8 * size / sum(parameter.numel() for parameter in models.build(module.config).parameters())
            found = {**own, "bits_per_weight": bits, "bytes": size, "tokens": steps * task.tokens_per_step}
            events.metrics({f"study/{figure}": value for figure, value in {**figures, **found}.items()})
        io.write_json(result, {"key": self.key, "levels": contender, "seed": seed, **figures, **found})
        say(f"{self.name}, {contender} levels, seed {seed}: loss {figures['loss']:.4f} at {bits:.2f} bits a weight")

    def row(self, contender: str, seeds: int) -> dict[str, Any]:
        """Means over the seeds, and the standard deviation of the loss."""
        found = [io.read_json(self._result(contender, seed)) for seed in range(1, seeds + 1)]
        mean = {key: statistics.fmean(result[key] for result in found) for key in ("bits_per_weight", "loss", "tokens")}
        deviation = statistics.stdev(result["loss"] for result in found) if seeds > 1 else None
        measured = (contender, mean["bits_per_weight"], mean["loss"], deviation, int(mean["tokens"]), seeds)
        return dict(zip(("levels", "bits/weight on disk", "validation loss", "deviation", "tokens", "seeds"), measured, strict=True))

    def summarize(self, rows: list[dict[str, Any]]) -> None:
        """The table to the run above the others, and all of them to MLflow."""
        with self._log("study", 0) as events:
            for row in rows:
                events.metrics({f"study/loss_{row['levels']}": row["validation loss"], f"study/bits_{row['levels']}": row[COLUMNS[1]]})
        if location.enabled():
            from pipeline.apps import sync

            sync.replay()

    @contextlib.contextmanager
    def _log(self, contender: str, seed: int) -> Iterator[tracking.EventLog]:
        """The event log of one run, or of the one above them (seed 0); they go to MLflow together, once all is done."""
        parameters = {"contender": contender, "seed": seed, **self.block.model_dump(mode="json")}
        with tracking.open_log("study", self.name, parameters) as events:
            events.follow = False
            events.run(self.key if seed == 0 else io.digest([self.key, contender, seed])[:16])
            yield events

    def _result(self, contender: str, seed: int) -> Path:
        return self.folder / f"seed-{seed}" / f"{contender}.json"

    def _steps(self) -> int:
        """Steps of both trainings and the final phase."""
        quantization: Any = self.block.quantization
        return int(self.block.training.steps + quantization.training.steps + quantization.final_steps)

    def _task(self, module: Model, settings: Any, seed: int) -> tasks.Task:
        return tasks.of(self.ready, self.dataset, settings, module.context, seed, module.recurrent)

    def _float(self, seed: int, steps: int, out: Path, events: Any) -> Model:
        settings = self.block.training.model_copy(update={"steps": steps, "epochs": None})
        config = describe(self.block, self.dataset, self.ready, self.key)
        return float_model(config, settings, self.ready, seed, out, events, f"{self.name} float {seed}")

    def _quantized(self, levels: int, seed: int, out: Path, events: Any) -> tuple[Model, int, dict[str, float]]:
        source = self._float(seed, self.block.training.steps, out.parent / "start", events)
        settings: Quantization = self.block.quantization.model_copy(update={"levels": levels, "bits": None})
        title, store = f"{self.name} {levels} levels {seed}", Store(out / "state")
        result = Quantizer(settings, self.ready, seed, store, events, title).run(source, str(out))
        config = {**result.module.config, "quantization_config": storage.describe(result.packed)}
        models.save(storage.tensors_of(result.packed, result.others), config, out / "model.safetensors", out / "config.json")
        store.remove()
        count = sum(matrix.count for matrix in result.packed.values())
        packed = {"packed_bits_per_weight": 8 * sum(matrix.nbytes for matrix in result.packed.values()) / count}
        return result.module, self._steps(), packed


def float_model(config: dict[str, Any], settings: Training, ready: Path, seed: int, out: Path, events: Any, title: str) -> Model:
    """The float model of a config.json, trained or as it was left in the folder `out`; a training that was stopped goes on."""
    if not (out / "config.json").exists():
        module, store = models.create(config, seed).to(settings.device), Store(out / "state")
        task = tasks.of(ready, io.read_json(ready / "dataset.json"), settings, module.context, seed, module.recurrent)
        Trainer(module, task, seed, store, events, title).run()
        models.save(module.state_dict(), module.config, out / "model.safetensors", out / "config.json")
        store.remove()
    return models.load(out)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Loss against bits, with the deviation over the seeds; the same bytes for the same numbers."""
    with rc_context({"svg.hashsalt": "quintet", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.add_subplot(xlabel="bits a weight on disk", ylabel="validation loss (nats)", xscale="log")
        for row in rows:
            bits, loss = row["bits/weight on disk"], row["validation loss"]
            axes.errorbar(bits, loss, yerr=row["deviation"], marker="o", capsize=3, color="black" if row["levels"] == "float" else "C0")
            axes.annotate(row["levels"], (bits, loss), textcoords="offset points", xytext=(6, 6))
        axes.grid(alpha=0.25)
        figure.savefig(path, metadata={"Date": None})


def show(name: str, rows: list[dict[str, Any]]) -> None:
    """The table on the terminal."""
    table = Table(title=f"{name}: the same tokens at each number of levels", title_justify="left", box=SIMPLE_HEAD)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for row in rows:
        values = [row[column] for column in COLUMNS]
        table.add_row(*("" if value is None else f"{value:.4f}" if isinstance(value, float) else f"{value}" for value in values))
    Console(highlight=False).print(table)
