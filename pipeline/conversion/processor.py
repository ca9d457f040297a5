"""Pentary processor: digits in 48-bit words, whole-number ratios, and a straight-line program for the simulator's instruction set.

    weights.bin   the digits of each matrix, row after row, each matrix from a new word on (`processor_words`)
    program.json  the memory's layout, the steps with their multipliers, offsets and shifts (`processor_network`), the unit of the logits
    program.txt   the instructions (`processor_program`)

What is compared and judged is the same program in whole numbers, read back from weights.bin and program.json; a test runs the text itself.
"""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from pipeline import io
from pipeline.conversion import Bounds, Source, processor_build, processor_program, processor_words, weights
from pipeline.conversion.processor_network import Means, Program, Segment, Step, Sums, Windows
from pipeline.data import features, shards
from pipeline.data.samples import Samples
from pipeline.errors import UserError
from pipeline.models.base import Model
from pipeline.models.pentary.classifier import Classifier

BOUNDS = Bounds(max_logit_difference=0.5, kl_divergence=1e-3, greedy_equal=0.95)
WEIGHTS = "weights.bin"
CALIBRATION = 256
"""Samples of the training split by which activations are sized."""


def export(module: Model, source: Source, target: Path) -> None:
    """Write the three files, and the tokenizer; raises `UserError` for what the program cannot do."""
    config, matrices, _ = weights.quantized(source.model)
    samples = Samples(shards.open(source.ready / "train.safetensors"), features.layout(config["quintet"]))
    spread = np.linspace(0, len(samples) - 1, min(CALIBRATION, len(samples))).astype(np.int64)
    program = processor_build.build(cast("Classifier", module), matrices, samples.inputs(spread))
    digits = [step.digits_RK.numpy() for step in program.steps if isinstance(step, Sums)]
    io.write_bytes(target / WEIGHTS, b"".join(map(processor_words.encode, digits)))
    head = {"inputs": program.inputs, "memory": program.size, "logit_unit": program.unit, "classes": config["quintet"]["classes"]}
    io.write_json(target / "program.json", {**head, "steps": [_described(step) for step in program.steps]})
    io.write_bytes(target / "program.txt", _text(program))
    source.copy_tokenizer(target)


def _text(program: Program) -> bytes:
    return "".join(f"{line}\n" for line in processor_program.lines(program)).encode()


def _described(step: Step) -> dict[str, Any]:
    if isinstance(step, Means):
        return {"type": "means", **step._asdict(), "table_VD": step.table_VD.tolist()}
    segments = [{**part._asdict(), "multiplier_R": _whole(part.multiplier_R), "offset_R": _whole(part.offset_R)} for part in step.segments]
    return {"type": "sums", **step._asdict(), "digits_RK": list(step.digits_RK.shape), "segments": segments}


def _whole(numbers: Tensor) -> list[int]:
    return [int(number) for number in numbers]


class Processor(Model):
    """A program behind the protocol of `pipeline.models`."""

    context = 1

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program

    def forward(self, inputs_BF: Tensor, state: None = None) -> tuple[Tensor, None]:
        return (self.program.run(inputs_BF) * self.program.unit).float()[:, None], None

    def initial_state(self, batch_size: int, length: int | None = None) -> None:
        """There is none."""


def load(folder: Path) -> Processor:
    """The program of a folder; raises `UserError` where its files do not belong together."""
    head, data = io.read_json(folder / "program.json"), (folder / WEIGHTS).read_bytes()
    try:
        steps: list[Step] = []
        for entry in head["steps"]:
            step, data = _step(entry, data)
            steps.append(step)
        program = Program(head["inputs"], head["memory"], steps, head["logit_unit"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder} holds no whole program ({error!r}): run the stage `convert` again") from None
    if (folder / "program.txt").read_bytes() != _text(program):
        raise UserError(f"{folder}/program.txt is not the program of program.json and {WEIGHTS}: run the stage `convert` again")
    return Processor(program)


def _step(entry: dict[str, Any], data: bytes) -> tuple[Step, bytes]:
    """A step, and what it leaves of weights.bin."""
    kind, known = entry["type"], {key: value for key, value in entry.items() if key != "type"}
    if kind == "means":
        return Means(**{**known, "table_VD": torch.tensor(known["table_VD"])}), data
    rows, columns = known["digits_RK"]
    digits = torch.from_numpy(processor_words.decode(data, rows * columns)).view(rows, columns)
    segments = [
        Segment(**{**part, **{key: torch.tensor(part[key], dtype=torch.float64) for key in ("multiplier_R", "offset_R")}})
        for part in known["segments"]
    ]
    windows = known["windows"] and Windows(*(tuple(each) for each in known["windows"]))
    return Sums(**{**known, "digits_RK": digits, "segments": segments, "windows": windows}), data[processor_words.size(rows * columns) :]
