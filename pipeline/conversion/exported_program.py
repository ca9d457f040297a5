"""A model's torch.export program (see `graphs`): traced, without traces of where, written and read without pickle.

A .pt2 file is a zip of JSON and raw tensors; torch pickles only what no raw bytes can say, and the example inputs. There is neither here:
they are left out of what is written, and a file that has any is not read.
"""

import io as memory
import json
import zipfile
from pathlib import Path

import torch
from torch import Tensor, fx

from pipeline import io
from pipeline.conversion import Source, graphs
from pipeline.errors import UserError
from pipeline.models.base import Model

WEIGHTS = "model.pt2"
WHERE = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node", "custom")
"""What a graph's nodes tell of the program that they were traced from."""


def write(module: Model, source: Source, target: Path) -> None:
    """Write model.pt2, the same bytes on every run of one version of torch, with the tokenizer and the configuration beside it."""
    adapter = graphs.adapter(module.config)
    example, axes = adapter.example(module), adapter.dynamic(module)
    with adapter.graph(module) as graph, torch.no_grad():
        program = torch.export.export(graph, example, dynamic_shapes=axes, strict=False)
    program._example_inputs = None
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, fx.GraphModule) else ():
            for key in WHERE:
                node.meta.pop(key, None)
    file = memory.BytesIO()
    torch.export.save(program, file)
    io.write_bytes(target / WEIGHTS, file.getvalue())
    io.write_json(target / "config.json", module.config)
    source.copy_tokenizer(target)


def load(folder: Path) -> Model:
    """The program, run by torch; raises `UserError` for a file with pickled parts."""
    path = folder / WEIGHTS
    refuse_pickles(path)
    config = io.read_json(folder / "config.json")
    program = torch.export.load(path).module()

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = program(*inputs)
        return outputs

    return graphs.adapter(config).exported(config, run)


def refuse_pickles(path: Path) -> None:
    """Raise `UserError` where reading the file would unpickle something, which can run any code."""
    try:
        with zipfile.ZipFile(path) as file:
            named = {name.partition("/")[2]: name for name in file.namelist()}
            configs = [json.loads(file.read(name)) for part, name in named.items() if part.endswith("_config.json")]
            pickled = [name for config in configs for name, entry in config["config"].items() if entry["use_pickle"]]
            pickled += [part for part, name in named.items() if part.startswith("data/sample_inputs/") and file.getinfo(name).file_size]
            pickled += [part for part in named if part.startswith("data/constants/") and "custom_obj" in part]
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no program of torch.export ({error}): run the stage `convert` again") from None
    if pickled:
        raise UserError(f"{path}: {pickled[0]} is pickled, and unpickling can run any code: run the stage `convert` again")
