"""Export formats: which families each can hold, where they run, and why not the others. README's table is this one.

A new format adds an entry here and its file under `pipeline/conversion`.
"""

import difflib
from collections.abc import Mapping
from typing import NamedTuple


class Format(NamedTuple):
    """What a format can hold."""

    holds: str
    """What its weights are, to follow the format's name."""
    families: Mapping[str, str]
    """Families that it can hold -> where their models run; "container only" says that nothing but this project reads them."""
    otherwise: str
    """Why every other family is refused, to follow "because"."""


NO_CLASS = "transformers has no class with its tensors and we ship no code to be run from a model directory"
NO_ARCHITECTURE = "llama.cpp has no architecture with its tensors"
PROCESSOR_FUSIONS = ("concat", "add")
"""Ways of bringing modalities together that a processor program can compute."""
NO_TOKENS = "its graph would need inputs that are no tokens"
RECURRENT = ("gru", "realnet", "neurogen")
STATE = "state as inputs and outputs, one token a call"
ROWS = "features in, logits out"


def _recurrent(where: str) -> dict[str, str]:
    """The families with a recurrent state, all in one place."""
    return dict.fromkeys(RECURRENT, where)


FORMATS = {
    "huggingface": Format("float32", {"transformer": "`transformers`, without any code of ours (Qwen3's architecture)"}, NO_CLASS),
    "huggingface_packed": Format(
        "the quantized directory's own, packed",
        {"transformer": "`transformers` with our kernels, after `import pipeline.conversion.transformers_quantizer`"},
        NO_CLASS,
    ),
    "safetensors": Format(
        "float32",
        {"transformer": "`pipeline.models.load`"} | _recurrent("`pipeline.models.load`") | {"pentary": "`pipeline.models.load`"},
        "nothing compares what is read back with what was written yet",
    ),
    "onnx": Format(
        "float32",
        {"transformer": "onnxruntime, KV cache as inputs and outputs"}
        | _recurrent(f"onnxruntime, {STATE}")
        | {"pentary": f"onnxruntime, {ROWS}"},
        NO_TOKENS,
    ),
    "onnx_packed": Format(
        "digits in bytes, decoded by the graph",
        {"transformer": "onnxruntime, KV cache as inputs and outputs"}
        | _recurrent(f"onnxruntime, {STATE}")
        | {"pentary": f"onnxruntime, {ROWS}"},
        NO_TOKENS,
    ),
    "torch_export": Format(
        "float32",
        {"transformer": "torch (`torch.export.load`), KV cache as inputs and outputs"}
        | _recurrent(f"torch (`torch.export.load`), {STATE}")
        | {"pentary": f"torch (`torch.export.load`), {ROWS}"},
        NO_TOKENS,
    ),
    "torch_export_packed": Format(
        "packed",
        {"transformer": "torch with our kernels (`torch.export.load` after `import pipeline.ops`)"}
        | _recurrent(f"torch with our kernels (`torch.export.load` after `import pipeline.ops`), {STATE}")
        | {"pentary": f"torch with our kernels (`torch.export.load` after `import pipeline.ops`), {ROWS}"},
        NO_TOKENS,
    ),
    "gguf": Format("float16", {"transformer": "llama.cpp (architecture `qwen3`), with its tokenizer"}, NO_ARCHITECTURE),
    "gguf_packed": Format(
        "digits in TQ2_0, Q3_K, Q4_0 or Q8_0, the smallest that is exact",
        {"transformer": "llama.cpp (architecture `qwen3`), with its tokenizer"},
        NO_ARCHITECTURE,
    ),
    "numpy": Format(
        "digits in bytes",
        {"transformer": "Python with NumPy alone (`python run.py TEXT`)"},
        "its script knows the transformer only",
    ),
    "c": Format(
        "digits in bytes",
        {"transformer": "any C99 compiler and the C library alone (`cc -O2 run.c -lm`)"},
        "its program knows the transformer only",
    ),
    "json": Format(
        "digits as numbers",
        {"transformer": "container only: the Pentary tools' schema, which has no attention to run it with"}
        | _recurrent("container only: that schema has no time to run it in")
        | {"pentary": "`PentaryModel.load` of `pipeline.apps.pentary` (fusion concat, add or multiply)"},
        "that schema has no names for its layers yet",
    ),
    "processor": Format(
        "digits in words of 48 bits",
        {"pentary": "the Pentary processor's simulator, as a straight-line program in whole numbers (fusion concat or add)"},
        "the program knows sums and ReLU only",
    ),
}


def refusal(family: str, name: str) -> str | None:
    """The sentence that says why a family's models cannot be written in a format, or None where they can."""
    if name not in FORMATS:
        near = difflib.get_close_matches(name, FORMATS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(FORMATS)}"
        return f"there is no format {name!r}: {hint}"
    if family in FORMATS[name].families:
        return None
    supported = [other for other, entry in FORMATS.items() if family in entry.families]
    remedy = f"choose from {', '.join(supported)}" if supported else "leave its formats empty"
    return f"a {family} model cannot be written as {name}, because {FORMATS[name].otherwise}: {remedy}"
