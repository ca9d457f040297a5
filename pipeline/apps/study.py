"""`python -m pipeline study`: what the steps of quantization are worth, on a model of params.yaml that is trained, or trains for it."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True, rich_markup_mode="markdown", help=__doc__)

Model = Annotated[str, typer.Argument(help="A model of params.yaml.", show_default=False)]
Tokens = Annotated[int, typer.Option(help="Tokens of the validation split to judge by; 0 takes all.")]


@app.command(epilog="Example: python -m pipeline study ptq shakespeare")
def ptq(model: Model, tokens: Tokens = 65536) -> None:
    """Leave out each step of quantization without training, and print what that costs."""
    from pipeline.apps import ablation

    ablation.run(model, tokens)


@app.command(epilog="Example: python -m pipeline study levels shakespeare --folder study --levels 3,5,float")
def levels(
    model: Model,
    folder: Annotated[Path, typer.Option(help="Results; runs that are there are not repeated.")] = Path("study"),
    levels: Annotated[str, typer.Option(help="Numbers of levels, and `float`, with commas.")] = "3,4,5,7,9,15,256,float",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each.")] = 3,
    tokens: Tokens = 0,
) -> None:
    """Train the model at each number of levels on the same tokens, and compare loss with true bits on disk."""
    from pipeline.apps import widths

    widths.run(model, folder, levels.split(","), seeds, tokens)


@app.command(name="float", epilog="Example: python -m pipeline study float shakespeare")
def same_tokens(
    model: Model, folder: Annotated[Path, typer.Option(help="The float model that is trained; one that is there is taken.")] = Path("study")
) -> None:
    """Train a float model on as many tokens as a quantized one took in all, and compare their losses."""
    from pipeline.apps import matched

    matched.run(model, folder)
