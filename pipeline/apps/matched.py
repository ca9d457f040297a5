"""`python -m pipeline study float`: a trained model and its quantized one beside a float model of as many tokens as both trainings took.

That float model rounded by `ptq` is the fourth: what its tokens come to where none is kept for training at few levels.
"""

from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipeline import config as configuration
from pipeline import io, models, paths, quantization, tracking
from pipeline.apps.ablation import by_ptq, quantize
from pipeline.apps.widths import float_model
from pipeline.models.base import Model
from pipeline.stages.train import describe
from pipeline.training import devices, tasks

SAME = "float, same tokens"
COLUMNS = ("model", "tokens", "validation", "above", "test", "above")


def run(name: str, folder: Path) -> None:
    """Train that float model, or find it in `folder`, and print the table; raises `UserError` for a model that is not quantized yet."""
    config = configuration.load()
    if name not in config.models:
        raise configuration.unknown_target("model", name, sorted(config.models))
    block, ready = config.models[name], paths.ready(config.models[name].dataset)
    device = devices.prepare(block.training.device, block.training.threads)
    trained, few = models.load(paths.model(name)), quantization.load(paths.quantized(name))
    tokens = io.read_json(paths.metrics(name, "train"))["tokens"]
    total = tokens + io.read_json(paths.metrics(name, "quantize"))["quantized"]["tokens"]
    dataset = io.read_json(ready / "dataset.json")

    task = tasks.of(ready, dataset, block.training, trained.context, config.seed, trained.recurrent)
    settings = block.training.model_copy(update={"steps": round(total / task.tokens_per_step), "epochs": None})
    key = io.digest([block.architecture.model_dump(mode="json"), settings.model_dump(mode="json"), dataset, config.seed])[:16]
    with tracking.open_log("study", name, {"key": key}) as events:
        events.follow = False
        described, out = describe(block, dataset, ready, key), folder / f"{name}-{key}"
        matched = float_model(described, settings, ready, config.seed, out, events, f"{name} float")
    rounded = quantize(by_ptq(block.quantization, {}), ready, config.seed, matched.cpu(), f"{name} ptq", str(out)).module
    contenders = [("float", tokens, trained.to(device)), ("few levels", total, few), (SAME, total, matched.to(device))]
    contenders.append(("the same, then ptq", total, rounded))
    show(name, [(title, count, *_losses(task, model)) for title, count, model in contenders])


def _losses(task: Any, model: Model) -> tuple[float, float]:
    """Nats on the validation and the test split."""
    validation, test = (task.evaluate(model.eval(), split)["loss"] for split in ("validation", "test"))
    return validation, test


def show(name: str, rows: list[tuple[str, int, float, float]]) -> None:
    """The table on the terminal; all are compared with the float model of the same tokens."""
    table = Table(title=f"{name}: loss in nats, and above float of the same tokens", title_justify="left", box=SIMPLE_HEAD)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "model" else "right")
    validation, test = next((found, held_out) for title, _, found, held_out in rows if title == SAME)
    for title, tokens, found, held_out in rows:
        table.add_row(title, f"{tokens}", f"{found:.4f}", f"{found - validation:+.4f}", f"{held_out:.4f}", f"{held_out - test:+.4f}")
    Console(highlight=False).print(table)
