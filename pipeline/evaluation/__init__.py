"""Judging finished models on the test split: a file for each task, found by the model's config.json, behind one protocol.

judge = evaluation.judge(config, ready, settings, seed)
verdict = judge.verdict(model)              # any module of `pipeline.models`' protocol: float, packed, or an export in its own runtime
judge.baselines()                           # the same figures for what a model has to beat
judge.table({"float": verdict, ...})        # rows for a plot
judge.samples({"float": (model, verdict)})  # something to read
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from pipeline.models.base import Model
from pipeline.schema.models import Evaluation

TASKS = {task: f"pipeline.evaluation.{task}" for task in ("language", "arithmetic", "classification")}


class Verdict(NamedTuple):
    """What was found about one model."""

    figures: dict[str, Any]
    """Metrics."""
    detail: Any
    """The task's own per-example findings, from which tables are made."""
    speed: dict[str, float]
    """Rates; for the event log only."""


class Judge(Protocol):
    """What each task's file offers under this name."""

    def verdict(self, model: Model) -> Verdict: ...

    def baselines(self) -> dict[str, dict[str, float]]: ...

    def table(self, verdicts: Mapping[str, Verdict]) -> list[dict[str, Any]]: ...

    def samples(self, judged: Mapping[str, tuple[Model, Verdict]]) -> str: ...


def judge(config: Mapping[str, Any], ready: Path, settings: Evaluation, seed: int) -> Judge:
    """The judge for a model's config.json on a ready data set; raises `UserError` for a prompt that the model cannot read."""
    module = importlib.import_module(TASKS[config["quintet"]["task"]])
    return cast("Judge", module.Judge(config, ready, settings, seed))
