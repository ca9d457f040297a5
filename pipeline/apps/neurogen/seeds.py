"""The lesion report of several brains: what a part is worth in their mean, how far they differ, and in the one that needs it least."""

import shutil
import statistics
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipeline import config as configuration
from pipeline import io, models, paths, tracking
from pipeline.apps.neurogen import pictures, report
from pipeline.apps.widths import float_model
from pipeline.data.ready import description
from pipeline.errors import UserError
from pipeline.models.neurogen import anatomy
from pipeline.stages.train import describe

Rows = list[dict[str, Any]]


def run(named: list[str], seeds: int | None, folder: Path, tokens: int) -> None:
    """Report on each model, in a folder of its own where there are several, and then on all of them; `UserError` as `report.run`."""
    if seeds and named:
        raise UserError("--seeds trains brains of its own: leave it out, or leave --model out")
    found = train(seeds, folder) if seeds else [(name, folder / f"model-{place}") for place, name in enumerate(named, 1)]
    if len(found) < 2:
        report.run(str(found[0][0]) if found else None, folder, tokens)
        return
    tables = [report.run(str(model), out, tokens) for model, out in found]
    rows = combine([rows for rows, _ in tables])
    io.write_csv(folder / "lesions.csv", rows)
    pictures.lesions(rows, folder / "lesions.svg", "deviation")
    show(rows, [loss for _, loss in tables], tokens)


def train(seeds: int, folder: Path) -> list[tuple[Path, Path]]:
    """The first brain of params.yaml, and others of the next seeds: a directory each, and where its report goes.

    The first is models/NAME where that is made. The others are trained in the folder: what is there is not repeated, and a training that
    was stopped goes on. Raises `UserError` where there is no brain in params.yaml, or where a directory holds another training's.
    """
    config = configuration.load()
    name = next((name for name, block in config.models.items() if block.family == "neurogen"), None)
    if name is None:
        raise UserError(
            "params.yaml has no model of the family neurogen: put one there, or a preset (`python -m pipeline preset neurogen`)"
        )
    block, ready = config.models[name], paths.ready(config.models[name].dataset)
    dataset, found = description(ready), []
    for seed in range(config.seed, config.seed + seeds):
        out = folder / f"seed-{seed}"
        if seed == config.seed and (paths.model(name) / "config.json").exists():
            found.append((paths.model(name), out))
            continue
        key = io.digest([name, block.architecture.model_dump(mode="json"), block.training.model_dump(mode="json"), dataset, seed])[:16]
        if (out / "config.json").exists() and models.read_config(out)["quintet"].get("training_key") != key:
            raise UserError(f"{out} is of other parameters: name another --folder, or remove this one")
        with tracking.open_log("experiments", name, {"seed": seed}) as events:
            events.follow = False
            described = describe(block, dataset, ready, key)
            float_model(described, block.training, ready, seed, out, events, f"{name}, seed {seed}")
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(ready / file, out / file)
        found.append((out, out))
    return found


def combine(tables: list[Rows]) -> Rows:
    """A row a part: mean, standard deviation and least of what its lesions add, over the tables of at least two brains."""
    rows = []
    for alike in zip(*tables, strict=True):
        row: dict[str, Any] = {"kind": alike[0]["kind"], "part": alike[0]["part"]}
        for way in report.WAYS:
            added = [each[way] for each in alike]
            row |= {way: statistics.fmean(added), f"{way}: deviation": statistics.stdev(added), f"{way}: least": min(added)}
        rows.append(row)
    return rows


def show(rows: Rows, losses: list[float], tokens: int) -> None:
    """The table on the terminal."""
    loss = f"{statistics.fmean(losses):.4f} ± {statistics.stdev(losses):.4f} nats a token"
    said = f"{len(losses)} brains, intact: {loss} over {tokens:,} tokens; what lesions add, ± standard deviation over the brains:"
    table = Table(title=said, title_justify="left", box=SIMPLE_HEAD)
    for column in ("part", "silenced", "least", "held at its mean", "least"):
        table.add_column(column, justify="left" if column == "part" else "right", no_wrap=True)
    for row in rows:
        added = [(f"{row[way]:+.4f} ± {row[f'{way}: deviation']:.4f}", f"{row[f'{way}: least']:+.4f}") for way in report.WAYS]
        table.add_row(row["part"].replace("_", " "), *added[0], *added[1], end_section=row["part"] == anatomy.MODULES[-1])
    Console(highlight=False).print(table)
