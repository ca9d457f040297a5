"""`python -m pipeline experiments`: a library's own experiments, beside baselines, over several seeds."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import UserError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True, rich_markup_mode="markdown", help=__doc__)

NEUROGEN = ("learning", "recall", "consolidation", "memory")
PENTARY = ("images", "speakers")
REALNET = ("xor", "latch", "sine", "adder", "stopwatch", "digits", "transfer")


@app.callback()
def _group() -> None:
    """A command by name, also while there is but one."""


@app.command(epilog="Examples: python -m pipeline experiments pentary --seeds 2; python -m pipeline experiments pentary --only speakers")
def pentary(
    only: Annotated[str, typer.Option(help="Networks on images (images), or speakers held out in turn (speakers).")] = "images",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each network on images.")] = 5,
    speaker: Annotated[list[str] | None, typer.Option(help="Hold out this one; may be repeated.", show_default="each in turn")] = None,
    seed: Annotated[int, typer.Option(help="Of the trainings on speakers.")] = 1337,
) -> None:
    """Handwritten digits in float, rounded and trained at five levels; or spoken digits (downloaded), each speaker held out in turn."""
    if only not in PENTARY:
        raise UserError(f"--only {only} is no experiment: choose from {', '.join(PENTARY)}")
    if only == "speakers":
        from pipeline.apps.pentary import speakers

        return speakers.show(seed, speaker)
    from pipeline.apps.pentary import figures

    figures.show(seeds)


@app.command(
    epilog="Examples: python -m pipeline experiments realnet; python -m pipeline experiments realnet --only xor --only latch --seeds 20"
)
def realnet(
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(REALNET)}; may be repeated.", show_default="all")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Trainings of each.", show_default="20 for xor, 5 for transfer, 3 for the others")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Results; trainings that are there are not repeated.")] = Path("experiments/realnet"),
) -> None:
    """RealNet beside GRU, RNN, MLP and linear models of no more parameters: a table and pictures, in the folder and in MLflow."""
    names = only or list(REALNET)
    for name in names:
        if name not in REALNET:
            raise UserError(f"--only {name} is no experiment: choose from {', '.join(REALNET)}")
    from pipeline.apps.realnet import experiments
    from pipeline.progress import say

    try:
        lines = experiments.run(names, seeds, folder)
    except KeyboardInterrupt:
        say(f"stopped: finished trainings are kept in {folder}; the same command goes on")
        raise typer.Exit(130) from None
    experiments.show(lines)


@app.command(
    epilog="Examples: python -m pipeline experiments neurogen --model quantized/neurogen; "
    "python -m pipeline experiments neurogen --seeds 3; python -m pipeline experiments neurogen --only recall"
)
def neurogen(
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model directory, or a model of params.yaml; may be repeated.", show_default="models/neurogen"),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="This many brains: params.yaml's, and others of the next seeds, trained in the folder; with --only, small ones (1).",
            show_default="none",
        ),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Tables and pictures.")] = Path("experiments/neurogen"),
    tokens: Annotated[int, typer.Option(min=1, help="Of the test split.")] = 16384,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Instead: small brains, one of {', '.join(NEUROGEN)}; may be repeated.", show_default="none")
    ] = None,
    data: Annotated[str, typer.Option(help="The data set that small brains read.")] = "plays",
) -> None:
    """What silencing each module and connection of trained brains costs, their firing rates, spikes, and what flows in them."""
    if only:
        for name in only:
            if name not in NEUROGEN:
                raise UserError(f"--only {name} is no experiment: choose from {', '.join(NEUROGEN)}")
        from pipeline.apps.neurogen import study

        study.run(only, folder, seeds or 1, data)
        return
    from pipeline.apps.neurogen import seeds as several

    several.run(model or [], seeds, folder, tokens)
