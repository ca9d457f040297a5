"""What llama.cpp's types cost on a sample of the test split: `python -m bench.gguf_types [MODEL ...]`, once the models have been quantized.

The sample is `WINDOWS` windows of text, or `PROBLEMS` problems, evenly spread over the split; all contenders are judged by the same.

Each of `gguf`'s own quantizers on the trained float model and on the quantized one, beside the quantized one whose digits are put into the
blocks as they are. Matrices whose columns a type's blocks do not divide stay float32: the count says how many do not.
"""

import sys

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind

from pipeline import config, evaluation, models, paths
from pipeline.conversion import gguf_packed, weights
from pipeline.models.base import Model

WINDOWS, PROBLEMS = 64, 500
KINDS = (Kind.F16, Kind.Q8_0, Kind.Q5_1, Kind.Q5_0, Kind.Q4_1, Kind.Q4_0, Kind.TQ2_0)


def rounded(model: Model, kind: Kind) -> tuple[dict[str, torch.Tensor], float, int]:
    """The model's tensors after the type's own quantizer, bits a weight of its matrices, and how many matrices it holds."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    state, matrices = model.state_dict(), model.quantizable()
    held = [name for name, matrix in matrices.items() if matrix.shape[1] % block == 0]
    for name in held:
        array = gguf.quants.dequantize(gguf.quants.quantize(state[name].numpy(), kind), kind)
        state[name] = torch.from_numpy(np.array(array, np.float32))
    count = sum(matrix.numel() for matrix in matrices.values())
    bits = sum(matrix.numel() * (8 * size / block if name in held else 32) for name, matrix in matrices.items())
    return state, bits / count, len(held)


def main(name: str) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    block = config.load().models[name]
    trained, five = models.load(paths.model(name)), weights.dense(paths.quantized(name))
    sample = block.evaluation.model_copy(update={"windows": WINDOWS, "problems": PROBLEMS})
    judge = evaluation.judge(trained.config, paths.ready(block.dataset), sample, seed=0)

    def row(what: str, model: Model, bits: float, held: int) -> None:
        figures = {
            key: value
            for key, value in judge.verdict(model).figures.items()
            if isinstance(value, float) and not key.endswith(("_low", "_high"))
        }
        written = "  ".join(f"{key} {value:.4f}" for key, value in figures.items())
        print(f"{what:32} {bits:5.2f} bits a weight, {held:3} matrices  {written}", flush=True)

    row("trained, float32", trained, 32.0, 0)
    matrices = weights.quantized(paths.quantized(name))[1]
    packed = {key: gguf_packed.data(matrix) for key, matrix in matrices.items()}
    count = sum(matrix.digits_RK.numel() for matrix in matrices.values())
    bits = 8 * sum(found.array.nbytes for found in packed.values()) / count
    dense = {key: torch.from_numpy(np.array(gguf.quants.dequantize(*found), np.float32)) for key, found in packed.items()}
    exact = weights.module(five.config, five.state_dict() | dense, paths.quantized(name))
    kinds = sorted({found.kind.name for found in packed.values()})
    row(f"quantized, digits in {' '.join(kinds)}", exact, bits, len(packed))
    for kind in KINDS:
        for what, model in (("trained", trained), ("quantized", five)):
            state, bits, held = rounded(model, kind)
            if held:
                row(f"{what}, rounded to {kind.name}", weights.module(model.config, state, paths.quantized(name)), bits, held)


if __name__ == "__main__":
    for name in sys.argv[1:] or config.load().models:
        print(f"{name}:")
        if paths.quantized(name).is_dir():
            main(name)
        else:
            print(f"{paths.quantized(name)} is not there: `dvc repro` makes it")
