"""Which of a name's models is its champion: a pure function of all of them, so that no order of replays leads to another one."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pipeline import config
from pipeline.errors import UserError


class Rule(NamedTuple):
    """A figure of a run, which of two values is `better` (`lower` or `higher`), and by how much at least, in the figure's own unit."""

    metric: str
    better: str
    margin: float

    def gain(self, before: float, after: float) -> float:
        """By how much `after` is better; rounded, so that 0.955 is 0.005 more than 0.95."""
        return round(before - after if self.better == "lower" else after - before, 9)

    def beats(self, after: float, before: float) -> bool:
        """Whether the margin is reached; with a margin of 0, any gain is enough and none is not."""
        gain = self.gain(before, after)
        return gain > 0 and gain >= self.margin

    def __str__(self) -> str:
        return f"`{self.metric}` is {self.better} by at least {self.margin:g}"


RULES = {
    "language": Rule("quantized/bits_per_byte", "lower", 0.01),
    "arithmetic": Rule("quantized/exact_match", "higher", 0.005),
    "classification": Rule("quantized/accuracy", "higher", 0.005),
}
"""What is declared for each task; `models.NAME.champion` in params.yaml declares another for one model."""


class Contender(NamedTuple):
    """A judged model: its id, on what it was judged (test data and how much of them), when, and its figures."""

    id: str
    judged_on: str
    time: int
    figures: Mapping[str, float]


def rule(model: str, task: str) -> Rule:
    """The declared rule of a model; its task's where params.yaml has none, no such model, or cannot be read."""
    try:
        declared = config.load().models[model].champion
    except (UserError, KeyError):  # the store may be older or newer than the parameters, and no stage may suffer from either
        declared = None
    return Rule(declared.metric, declared.better, declared.margin) if declared else RULES[task]


def champion(contenders: Iterable[Contender], rule: Rule) -> Contender | None:
    """Who holds the title, once each has met, in the order of their judgement, whoever held it before.

    Figures on other test data cannot be compared: only those count that were judged on what the newest was.
    """
    fit = sorted((each for each in contenders if rule.metric in each.figures), key=lambda each: (each.time, each.id))
    holder: Contender | None = None
    for each in fit:
        if each.judged_on != fit[-1].judged_on:
            continue
        if holder is None or rule.beats(each.figures[rule.metric], holder.figures[rule.metric]):
            holder = each
    return holder
