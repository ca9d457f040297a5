"""The command lines of the seeds' trainers; `pipeline.__main__` hands their arguments on."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import __version__
from pipeline.apps.calcgpt_config import TrainingConfig as CalcGPT
from pipeline.apps.tinyllm_config import TrainingConfig as TinyLLM

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

Quiet = Annotated[bool, typer.Option("--verbose/--quiet", help="Show progress.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"quintet {__version__}")
        raise typer.Exit


@app.command(epilog="Example: python -m pipeline calcgpt-train -e 50 -b 8 --embedding-dim 128")
def calcgpt_train(
    dataset: Annotated[Path, typer.Option("--dataset", "-d", help="Text file, one equation such as 12+34=46 a line.")] = Path(
        "datasets/ds-calcgpt.txt"
    ),
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Model directory to write.")] = Path("models/calcgpt"),
    embedding_dim: Annotated[int, typer.Option(help="Width of the model.")] = CalcGPT.embedding_dim,
    num_layers: Annotated[int, typer.Option(help="Layers.")] = CalcGPT.num_layers,
    num_heads: Annotated[int, typer.Option(help="Attention heads a layer.")] = CalcGPT.num_heads,
    feedforward_dim: Annotated[int, typer.Option(help="Width inside a layer's MLP.")] = CalcGPT.feedforward_dim,
    epochs: Annotated[int, typer.Option("--epochs", "-e", help="Times to go through the equations.")] = CalcGPT.epochs,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", help="Equations an optimizer step.")] = CalcGPT.batch_size,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = CalcGPT.learning_rate,
    weight_decay: Annotated[float, typer.Option(help="Decay of the matrices.")] = CalcGPT.weight_decay,
    warmup_steps: Annotated[int, typer.Option(help="Steps of warm-up, at most half of all.")] = CalcGPT.warmup_steps,
    save_steps: Annotated[int, typer.Option(help="Steps between two checkpoints.")] = CalcGPT.save_steps,
    no_augmentation: Annotated[bool, typer.Option("--no-augmentation", help="Leave out b+a where the file has a+b.")] = False,
    test_split: Annotated[float, typer.Option(help="Share of the equations that is held out.")] = CalcGPT.test_split,
    seed: Annotated[int, typer.Option(help="Of split, weights and order.")] = CalcGPT.seed,
    verbose: Quiet = True,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")] = False,
) -> None:
    """Train a calculator on a file of equations (CalcGPT's trainer)."""
    from pipeline.apps.calcgpt import CalcGPTTrainer

    config = CalcGPT(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        embedding_dim=embedding_dim,
        num_layers=num_layers,
        num_heads=num_heads,
        feedforward_dim=feedforward_dim,
        warmup_steps=warmup_steps,
        weight_decay=weight_decay,
        save_steps=save_steps,
        test_split=test_split,
        seed=seed,
        no_augmentation=no_augmentation,
    )
    results = CalcGPTTrainer(config, dataset, output_dir, verbose).train()
    for test in results["test_results"]:
        print(f"{test['problem']}{test['answer']}  {'right' if test['correct'] else 'wrong, it is ' + test['expected']}")
    print(f"held out: loss {results['eval_loss']:.4f}, {results['exact_match']:.1%} of answers exact; {results['training_time']:.0f} s")
    print(f"{results['model_params']:,} parameters in {output_dir}")


@app.command(epilog="Example: python -m pipeline tinyllm-train novel.txt --epochs 5")
def tinyllm_train(
    file: Annotated[Path | None, typer.Argument(help="Text file; Shakespeare's plays without one.", show_default=False)] = None,
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Model directory to write.")] = Path("models/tinyllm"),
    model: Annotated[Path | None, typer.Option(help="JSON file of the model's sizes.", show_default=False)] = None,
    epochs: Annotated[int, typer.Option("--epochs", "-e", help="Times to go through the text.")] = TinyLLM.epochs,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", help="Windows an optimizer step.")] = TinyLLM.batch_size,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = TinyLLM.learning_rate,
    max_context: Annotated[int, typer.Option(help="Characters that the model sees at once.")] = TinyLLM.max_context,
    gradient_clip: Annotated[float, typer.Option(help="Largest norm of the gradient; 0: any.")] = TinyLLM.gradient_clip,
    val_split: Annotated[float, typer.Option(help="Share of the text that is held out.")] = TinyLLM.val_split,
    sample_frequency: Annotated[int, typer.Option(help="Steps between two samples; 0: none.")] = TinyLLM.sample_frequency,
    temperature: Annotated[float, typer.Option(help="Of the samples; 0: greedy.")] = TinyLLM.temperature,
    console_max_tokens: Annotated[int, typer.Option(help="Characters a console's answer.")] = TinyLLM.console_max_tokens,
    console_temperature: Annotated[float, typer.Option(help="Of the console.")] = TinyLLM.console_temperature,
    console_top_k: Annotated[int, typer.Option(help="Likeliest characters the console draws from; 0: all.")] = TinyLLM.console_top_k,
    verbose: Quiet = True,
) -> None:
    """Train a small character model on a text file (tinyllm_py's trainer)."""
    from pipeline.apps import tinyllm

    config = TinyLLM(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_context=max_context,
        gradient_clip=gradient_clip,
        val_split=val_split,
        sample_frequency=sample_frequency,
        temperature=temperature,
        console_max_tokens=console_max_tokens,
        console_temperature=console_temperature,
        console_top_k=console_top_k,
    )
    results = tinyllm.train(file, config, output_dir, model, verbose=verbose)
    print(f"loss {results['train']['loss']:.4f}, held out {results['validation']['loss']:.4f}, best at step {results['best_step']}")
    print(f"{results['parameters']:,} parameters in {output_dir}")
