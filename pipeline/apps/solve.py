"""`python -m pipeline solve`: answers of a calculator model to problems such as `12+34=`, each checked."""

import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.text import Text

from pipeline.apps.trained import Trained, find, open_model
from pipeline.data.arithmetic import Codec, parse, value
from pipeline.errors import UserError
from pipeline.models.generation import generate

TOGETHER = 512
"""Problems that are answered as one batch."""
STYLES = {"right": "green", "wrong": "red", "refused": "yellow"}


class Result(NamedTuple):
    """A problem as it was given, and either what the model answered and what is true, or why it was refused."""

    problem: str
    answer: str = ""
    expected: str = ""
    error: str = ""

    @property
    def verdict(self) -> str:
        """`right`, `wrong` or `refused`."""
        return "refused" if self.error else "right" if self.answer == self.expected else "wrong"

    def row(self, width: int) -> Text:
        """For people; answers of one width stand below each other."""
        if self.error:
            return Text.assemble(("refused", STYLES["refused"]), f"  {self.error}")
        shown = f"{self.problem.strip().removesuffix('=')}={self.answer}"
        remark = f" it is {self.expected}" if self.verdict == "wrong" else ""
        return Text.assemble((f"{self.verdict:<7}", STYLES[self.verdict]), f"  {shown:<{width}}{remark}".rstrip())

    def record(self) -> dict[str, str | bool]:
        """For programs."""
        if self.error:
            return {"problem": self.problem, "error": self.error}
        return {"problem": self.problem, "answer": self.answer, "correct": self.verdict == "right", "expected": self.expected}


class Solver:
    """A calculator: a model directory whose codec says which problems there are; raises `UserError` where it has none."""

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        self.codec = Codec.from_dict(trained.config["quintet"].get("codec", {}))

    def solve(self, problems: Iterable[str]) -> Iterator[Result]:
        """A result for each problem, in order; whatever cannot be read is refused, with the character and its position."""
        waiting = iter(problems)
        while batch := list(itertools.islice(waiting, TOGETHER)):
            yield from self._batch(batch)

    @torch.inference_mode()
    def _batch(self, problems: list[str]) -> Iterator[Result]:
        read = [self._read(problem) for problem in problems]
        prompts = [ids for ids in read if isinstance(ids, list)]
        answers = iter(generate(self.trained.module, prompts, self.codec.answer_width + 1, eos=self.codec.eos) if prompts else [])
        for problem, ids in zip(problems, read, strict=True):
            if isinstance(ids, str):
                yield Result(problem, error=ids)
            else:
                yield Result(problem, self.codec.decode_answer(next(answers)), _true(problem))

    def _read(self, problem: str) -> list[int] | str:
        """The problem's tokens, or why there are none."""
        try:
            ids = self.codec.encode_problem(problem)
            _true(problem)
            return ids
        except UserError as error:
            return str(error)


def _true(problem: str) -> str:
    equation = parse(problem)
    try:
        return str(value(equation.operands, equation.operators))
    except ZeroDivisionError:
        raise UserError(f"{problem!r} divides by zero: nobody knows its answer") from None


def problems_of(given: list[str], file: Path | None) -> Iterable[str]:
    """The problems named on the command line, or the lines of a file or pipe that are not empty; raises `UserError`."""
    if given and file:
        raise UserError("problems come from the command line or from --file, not from both: leave one out")
    if given:
        return given
    if file is None and sys.stdin.isatty():
        raise UserError("there is nothing to solve: give problems such as 12+34=, or --file FILE with one a line")
    return _lines(file)


def _lines(file: Path | None) -> Iterator[str]:
    name = "stdin" if file is None else str(file)
    try:
        with open(sys.stdin.fileno() if file is None else file, encoding="utf-8", closefd=file is not None) as lines:
            yield from (text for line in lines if (text := line.strip()))
    except UnicodeDecodeError:
        raise UserError(f"{name} is not UTF-8 text: give one problem a line, such as 12+34=") from None
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror}): name a text file with one problem a line") from None


def run(given: list[str], file: Path | None, model: str | None, as_float: bool, as_json: bool) -> bool:
    """Print every result and how many were right; whether all could be read. Raises `UserError`."""
    problems = problems_of(given, file)
    solver = Solver(open_model(find(model, "arithmetic", as_float)))
    results, counts = solver.solve(problems), Counter[str]()
    width = solver.codec.row_length + solver.codec.operands
    console, separator = Console(highlight=False, soft_wrap=True), "[\n"
    for result in results:
        counts[result.verdict] += 1
        if as_json:
            sys.stdout.write(f"{separator}{json.dumps(result.record(), ensure_ascii=False)}")
            separator = ",\n"
        else:
            console.print(result.row(width))
    if as_json:
        print("\n]" if counts else "[]")
    asked = counts["right"] + counts["wrong"]
    refused = f", {counts['refused']} refused" if counts["refused"] else ""
    print(f"{solver.trained.directory}: {counts['right']} of {asked} right{refused}", file=sys.stderr)
    return not counts["refused"]
