"""`python -m pipeline formats`: what can be exported as what, where it then runs, and why not."""

import sys

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipeline.schema.families import FAMILIES
from pipeline.schema.formats import FORMATS, Format

CONTAINER = "container only: "
"""Such an entry of the table holds a model that nothing outside this project runs."""
WIDTH = 140
"""Of the table where the output is no terminal."""


def show(as_markdown: bool) -> None:
    """Print family x format, and below it what its numbers stand for."""
    if as_markdown:
        print(markdown(), end="")
        return
    head, *rows = lines(notes())
    made = Table(box=SIMPLE_HEAD)
    for column in head:
        made.add_column(column, style="bold" if column == "format" else None)
    for row in rows:
        made.add_row(*row)
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDTH)
    console.print(made)
    for number, note in enumerate(notes(), 1):
        console.print(f"{number:2}  {note.replace('`', '')}")


def entry(family: str, form: Format) -> tuple[str, str]:
    """One cell: whether it runs, is a container, or is refused (a dash), and the sentence behind that."""
    where = form.families.get(family)
    if where is None:
        return "–", f"refused: {form.otherwise}"
    return ("container", where.removeprefix(CONTAINER)) if where.startswith(CONTAINER) else ("runs", where)


def notes() -> list[str]:
    """Every sentence behind the cells once, in the order of the table."""
    return list(dict.fromkeys(entry(family, form)[1] for form in FORMATS.values() for family in FAMILIES))


def lines(numbered: list[str]) -> list[list[str]]:
    """Head and rows; each cell with the number of its sentence."""
    rows = [["format", "weights", *FAMILIES]]
    for name, form in FORMATS.items():
        cells = [entry(family, form) for family in FAMILIES]
        rows.append([name, form.holds, *(f"{word} ({numbered.index(note) + 1})" for word, note in cells)])
    return rows


def markdown() -> str:
    """The same for a page such as README.md."""
    head, *rows = lines(notes())
    table = [head, ["---"] * len(head), *([f"`{name}`", *rest] for name, *rest in rows)]
    listed = "".join(f"{number}. {note}\n" for number, note in enumerate(notes(), 1))
    return "".join(f"| {' | '.join(cells)} |\n" for cells in table) + "\n" + listed
