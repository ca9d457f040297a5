"""`python -m pipeline experiments neurogen`: what each part of a trained brain is worth, and what it does while it reads.

A lesion takes the place of a module's rates, or of what a connection carries of its source's: 0 (silenced), or its mean over the text that
is judged (held, which leaves the level and takes the information). A lesion counts by what it adds to the loss of each token.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from pipeline import io, paths
from pipeline.apps import trained
from pipeline.apps.neurogen import pictures, study
from pipeline.apps.neurogen.activity import watch
from pipeline.data import shards
from pipeline.errors import UserError
from pipeline.evaluation.language import losses
from pipeline.models.neurogen import Brain, Lesions, anatomy
from pipeline.progress import Bar

STREAMS = 64
"""Places of the text that are read side by side."""
SHOWN = 40
"""Tokens of the text whose activity is drawn."""
PIECE = 64
"""Tokens read at a time."""
WAYS = ("silenced", "held at its mean")


class Intact(NamedTuple):
    """What the whole brain does on the text."""

    nats: npt.NDArray[np.float64]
    """Loss of each token [B, T]."""
    means: dict[str, Tensor]
    """Mean rate of each neuron [N], by module."""


def run(model: str | None, folder: Path, tokens: int) -> tuple[list[dict[str, Any]], float]:
    """Judge all lesions on `tokens` of the test split, write tables and pictures to the folder, print the table.

    Returns its rows, and the loss of the intact brain.

    `UserError` where the model is no brain that writes texts, or its data set is not there.
    """
    torch.set_num_threads(1)
    found = trained.open_model(trained.find(model if model is not None else str(paths.model("neurogen")), "language"))
    if not isinstance(brain := found.module, Brain):
        raise UserError(f"{found.directory} is of the family {found.config['quintet']['family']}: name a directory of a neurogen model")
    ready = paths.ready(str(found.config["quintet"].get("dataset")))
    text = shards.tokens(ready / "test.safetensors", int(found.config["vocab_size"]))
    windows = side_by_side(text, tokens)
    rows, intact = judge(brain, windows)
    io.write_csv(folder / "lesions.csv", rows)
    rates = {name: rate.tolist() for name, rate in intact.means.items()}
    io.write_csv(folder / "rates.csv", [{"module": m, "neuron": i, "rate": r} for m, each in rates.items() for i, r in enumerate(each)])
    activity = watch(brain, torch.from_numpy(windows[:1, :SHOWN]))
    letters = [found.tokenizer.decode([int(id)]) for id in windows[0, :SHOWN]]
    pictures.lesions(rows, folder / "lesions.svg")
    pictures.rates(rates, folder / "rates.svg")
    pictures.raster(activity, letters, folder / "raster.svg")
    pictures.flow(activity, letters, folder / "flow.svg")
    show(found.describe(), rows, intact.nats)
    log(folder, rows, float(intact.nats.mean()))
    return rows, float(intact.nats.mean())


def log(folder: Path, rows: list[dict[str, Any]], loss: float) -> None:
    """Tables, pictures and what lesions add, into MLflow."""
    points = [(study.plain(f"lesions/{row['part']}, {way}"), 0, row[way]) for row in rows for way in WAYS]
    files = sorted(path for path in folder.iterdir() if path.suffix in (".csv", ".svg"))
    study.log("lesions", files, [("lesions/intact", 0, loss), *points])


def side_by_side(text: npt.NDArray[Any], tokens: int) -> npt.NDArray[np.int64]:
    """Windows [B, T + 1] at even distances in a text, of `tokens` inputs in all (fewer where the text is shorter)."""
    length = min(tokens, len(text) - 1) // STREAMS
    if length < 2:
        raise UserError(f"the test split has {len(text)} tokens and --tokens is {tokens}: the report needs at least {2 * STREAMS} of both")
    starts = np.linspace(0, len(text) - 1 - length, STREAMS).astype(np.int64)
    return np.stack([text[start : start + length + 1] for start in starts]).astype(np.int64)


def judge(brain: Brain, windows_BT: npt.NDArray[np.int64]) -> tuple[list[dict[str, Any]], Intact]:
    """What each lesion adds to the loss: a row a module and a connection; and what the intact brain does."""
    intact = observe(brain, windows_BT)
    parts = [("module", name, name) for name in anatomy.MODULES]
    parts += [("connection", f"{c.source} to {c.target}", c.source) for c in anatomy.CONNECTIONS]
    rows = []
    with Bar("lesions", 2 * len(parts), "passes") as bar:
        for kind, name, source in parts:
            row: dict[str, Any] = {"kind": kind, "part": name}
            values: tuple[Tensor | float, ...] = (0.0, intact.means[source])
            for way, value in zip(WAYS, values, strict=True):
                chosen = {name.replace(" to ", "_"): value}
                brain.lesions = Lesions(modules=chosen) if kind == "module" else Lesions(connections=chosen)
                try:
                    added = _losses(brain, windows_BT) - intact.nats
                finally:
                    brain.lesions = Lesions()
                row |= {way: float(added.mean()), f"{way}: error": standard_error(added)}
                bar.advance(1, part=name)
            rows.append(row)
    return rows, intact


@torch.no_grad()
def observe(brain: Brain, windows_BT: npt.NDArray[np.int64]) -> Intact:
    """Losses, and the mean rates over the same text."""
    total, state = torch.zeros(sum(brain.sizes.values())), None
    tokens = torch.from_numpy(windows_BT[:, :-1])
    brain.record = True
    for part in tokens.split(PIECE, 1):
        _, state = brain(part, state)
        assert brain.recording is not None
        total += brain.recording.rates.sum((0, 1))
    brain.record, brain.recording = False, None
    means = (total / tokens.numel()).split(list(brain.sizes.values()))
    return Intact(_losses(brain, windows_BT), dict(zip(anatomy.MODULES, means, strict=True)))


def _losses(brain: Brain, windows_BT: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return losses(brain, windows_BT, STREAMS, PIECE)


def standard_error(added_BT: npt.NDArray[np.float64]) -> float:
    """Of the mean, from the streams' means: tokens of one stream are not independent."""
    return float(added_BT.mean(1).std(ddof=1)) / math.sqrt(len(added_BT))


def show(title: str, rows: list[dict[str, Any]], nats: npt.NDArray[np.float64]) -> None:
    """The table on the terminal."""
    said = f"{title}\nintact: {nats.mean():.4f} nats a token over {nats.size:,} tokens; what lesions add, ± a standard error:"
    table = Table(title=said, title_justify="left", box=SIMPLE_HEAD)
    for column in ("part", *WAYS):
        table.add_column(column, justify="left" if column == "part" else "right", no_wrap=True)
    for row in rows:
        added = (f"{row[way]:+.4f} ± {row[f'{way}: error']:.4f}" for way in WAYS)
        table.add_row(row["part"].replace("_", " "), *added, end_section=row["part"] == anatomy.MODULES[-1])
    Console(highlight=False).print(table)
