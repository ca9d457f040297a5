"""`python -m pipeline STAGE TARGET` and the tools. Nothing heavy is imported before a command runs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import UserError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown", help=__doc__)

ELSEWHERE = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""For a command whose options, `--help` too, are read in another file, which no stage should load."""

Dataset = Annotated[str, typer.Argument(help="A data set of params.yaml.", show_default=False)]
Model = Annotated[str, typer.Argument(help="A model of params.yaml.", show_default=False)]


def _stage(name: str, target: str | None = None) -> None:
    from pipeline.stages.runner import run

    try:
        run(name, target)
    except KeyboardInterrupt:
        print("stopped: nothing was published; the same command continues", file=sys.stderr)
        raise typer.Exit(130) from None


@app.command(epilog="Example: python -m pipeline download plays")
def download(dataset: Dataset) -> None:
    """Fetch a data set's raw documents, checked against their pinned hash."""
    _stage("download", dataset)


@app.command(epilog="Example: python -m pipeline tokenize plays")
def tokenize(dataset: Dataset) -> None:
    """Clean, split and tokenize a data set."""
    _stage("tokenize", dataset)


@app.command(epilog="Example: python -m pipeline train shakespeare")
def train(model: Model) -> None:
    """Train a model; started again after a stop, it goes on where it was."""
    _stage("train", model)


@app.command(epilog="Example: python -m pipeline quantize shakespeare")
def quantize(model: Model) -> None:
    """Reduce a trained model's weights to five levels."""
    _stage("quantize", model)


@app.command(epilog="Example: python -m pipeline convert shakespeare")
def convert(model: Model) -> None:
    """Export a quantized model to its formats and compare each with the original."""
    _stage("convert", model)


@app.command(epilog="Example: python -m pipeline evaluate shakespeare")
def evaluate(model: Model) -> None:
    """Judge the float, the quantized and the exported model on the test split."""
    _stage("evaluate", model)


@app.command(epilog="Example: python -m pipeline report")
def report() -> None:
    """Write the report over all models."""
    _stage("report")


@app.command(epilog="Example: python -m pipeline sync")
def sync(
    follow: Annotated[Path | None, typer.Option(help="One log to follow while a stage writes it.", hidden=True)] = None,
    parent: Annotated[int | None, typer.Option(help="The stage's process.", hidden=True)] = None,
) -> None:
    """Bring what MLflow's store lacks of the event logs into it."""
    from pipeline.apps import sync

    if follow is not None and parent is not None:
        sync.follow(follow, parent)
    else:
        sync.replay()


@app.command(epilog="Example: python -m pipeline preset smoke")
def preset(
    name: Annotated[str, typer.Argument(help="A file of presets/, without its ending.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Lose edits of params.yaml that are not committed.")] = False,
) -> None:
    """Put another set of parameters in force, for either runner."""
    from pipeline.apps import presets

    presets.select(name, force)


@app.command(epilog="Example: python -m pipeline add novel.txt")
def add(
    file: Annotated[Path, typer.Argument(help="A text: txt, md, jsonl, parquet, or an archive of such.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="Of data set and model; the file's by default.", show_default=False)] = None,
) -> None:
    """Put a text of your own, and a model that learns it, into params.yaml."""
    from pipeline.apps import own

    own.add(file, name)


@app.command(epilog="Example: python -m pipeline clean --yes")
def clean(yes: Annotated[bool, typer.Option("--yes", help="Remove, do not only list.")] = False) -> None:
    """List or remove results of models and data sets that params.yaml does not name."""
    from pipeline.apps import presets

    presets.clean(yes)


@app.command(epilog="Examples: python -m pipeline doctor; QUINTET_CPU=avx2 python -m pipeline doctor; python -m pipeline doctor --json")
def doctor(as_json: Annotated[bool, typer.Option("--json", help="For a program.")] = False) -> None:
    """Say what was built, what this machine has, what will be used, and what is missing (exit code 2)."""
    from pipeline.apps import doctor

    if not doctor.show(as_json):
        raise typer.Exit(2)


@app.command(epilog="Example: python -m pipeline schema")
def schema() -> None:
    """Write the JSON schema of params.yaml, which Snakemake checks it by."""
    from pipeline.apps import presets

    presets.write_schema()


@app.command(epilog="Example: python -m pipeline results --markdown")
def results(markdown: Annotated[bool, typer.Option("--markdown", help="The table alone, for a page.")] = False) -> None:
    """Print the table of results, where the report lies, and how to look at the runs."""
    from pipeline.apps import results

    results.show(markdown)


@app.command(epilog="Example: python -m pipeline formats")
def formats(markdown: Annotated[bool, typer.Option("--markdown", help="For a page.")] = False) -> None:
    """Print which family can be exported to which format, where that runs, and why not."""
    from pipeline.apps import formats

    formats.show(markdown)


@app.command(epilog="Example: python -m pipeline ui --port 5001")
def ui(port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000) -> None:
    """Serve MLflow's pages of all runs, until Ctrl-C."""
    from pipeline.apps import ui

    ui.serve(port)


Float = Annotated[bool, typer.Option("--float", help="The float model, not the packed one.")]


@app.command(epilog="Examples: python -m pipeline console shakespeare; echo ROMEO: | python -m pipeline console models/shakespeare")
def console(
    model: Annotated[str | None, typer.Argument(help="A model that is made here, or a model directory.", show_default=False)] = None,
    as_float: Float = False,
) -> None:
    """Talk to a language model, on a terminal or through a pipe."""
    from pipeline.apps import console

    if not console.run(model, as_float):
        raise typer.Exit(2)


@app.command(epilog="Examples: python -m pipeline solve 12+34= 99-100; python -m pipeline solve --file problems.txt --json")
def solve(
    problems: Annotated[list[str] | None, typer.Argument(help="Such as 12+34=; without any, lines of stdin.", show_default=False)] = None,
    file: Annotated[Path | None, typer.Option(help="One problem a line.", show_default=False)] = None,
    model: Annotated[str | None, typer.Option(help="A model that is made here, or a model directory.", show_default=False)] = None,
    as_float: Float = False,
    as_json: Annotated[bool, typer.Option("--json", help="For a program.")] = False,
) -> None:
    """Let a calculator model answer problems, each marked right or wrong; exit code 2 where one cannot be read."""
    from pipeline.apps import solve

    if not solve.run(problems or [], file, model, as_float, as_json):
        raise typer.Exit(2)


@app.command(epilog="Examples: python -m pipeline sweep widths; python -m pipeline sweep widths --model calculator")
def sweep(
    name: Annotated[
        str, typer.Argument(help="Of the experiments NAME-1, NAME-2, ... of DVC, or of workflow/sweep.smk.", show_default=False)
    ],
    model: Annotated[str | None, typer.Option(help="A model of params.yaml.", show_default="the one that is swept")] = None,
) -> None:
    """Compare the experiments of a sweep: a table, loss against bytes, parallel coordinates; here and in MLflow."""
    from pipeline.apps import sweep

    sweep.show(name, model)


@app.command(context_settings=ELSEWHERE, epilog="Example: python -m pipeline study levels shakespeare --folder study")
def study(context: typer.Context) -> None:
    """Measure what quantization's steps (`study ptq`) and numbers of levels (`study levels`) are worth."""
    from pipeline.apps.study import app as studies

    studies(context.args, prog_name="python -m pipeline study")


@app.command(context_settings=ELSEWHERE, epilog="Example: python -m pipeline experiments realnet --only xor")
def experiments(context: typer.Context) -> None:
    """Repeat a library's experiments beside baselines of equal size (`experiments realnet`, `experiments pentary`)."""
    from pipeline.apps.experiments import app as group

    group(context.args, prog_name="python -m pipeline experiments")


def _pass_on(context: typer.Context) -> None:
    from pipeline.apps.commands import app as seeds

    seeds([str(context.info_name), *context.args], prog_name="python -m pipeline")


@app.command(context_settings=ELSEWHERE)
def pentary(context: typer.Context) -> None:
    """Train a 5-level network on features, or on texts, images and recordings (the Pentary tools' trainer)."""
    from pipeline.apps import pentary_command

    pentary_command.run(context.args)


@app.command("calcgpt-train", context_settings=ELSEWHERE)
def calcgpt_train(context: typer.Context) -> None:
    """Train a calculator on a file of equations (CalcGPT's trainer)."""
    _pass_on(context)


@app.command("tinyllm-train", context_settings=ELSEWHERE)
def tinyllm_train(context: typer.Context) -> None:
    """Train a small character model on a text file (tinyllm_py's trainer)."""
    _pass_on(context)


def main() -> None:
    """Entry point: one sentence and exit code 2 for a user's mistake, 130 for Ctrl-C; a crash keeps its trace."""
    try:
        app(prog_name="python -m pipeline")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
