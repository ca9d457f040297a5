"""What the rules share: names from the configuration, and the files, parameters and code of each stage."""

import json
import subprocess
from functools import reduce
from pathlib import Path

from snakemake.exceptions import WorkflowError

DATASETS = list(config["datasets"])
MODELS = list(config["models"])

READY = ["train.safetensors", "validation.safetensors", "test.safetensors"]
READY += ["tokenizer.json", "tokenizer_config.json", "dataset.json"]
WEIGHTS = [
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
]

# The code that runs in every stage, and what each stage adds; a folder stands for all of its sources.
CORE = [
    "pipeline/config.py",
    "pipeline/errors.py",
    "pipeline/io.py",
    "pipeline/paths.py",
    "pipeline/progress.py",
    "pipeline/schema",
    "pipeline/stages/__init__.py",
    "pipeline/stages/runner.py",
    "pipeline/tracking/__init__.py",
    "pipeline/tracking/events.py",
    "pipeline/tracking/follower.py",
    "pipeline/tracking/location.py",
    "pipeline/tracking/origin.py",
    "pipeline/tracking/system.py",
]
DATA = [
    "pipeline/data/__init__.py",
    "pipeline/data/arithmetic",
    "pipeline/data/tokenizers.py",
]
MODEL = [
    "pipeline/models/__init__.py",
    "pipeline/models/base.py",
    "pipeline/models/sparse.py",
    "pipeline/models/{family}",
]
NATIVE = [
    "pipeline/ops",
    "native/CMakeLists.txt",
    "native/bindings",
    "native/cmake",
    "native/include",
    "native/src",
]
PACKED = [
    "pipeline/quantization/__init__.py",
    "pipeline/quantization/grid.py",
    "pipeline/quantization/modules.py",
    "pipeline/quantization/storage.py",
    "pipeline/quantization/stream.py",
]
CODE = {
    "download": [
        *DATA,
        "pipeline/data/digits/__init__.py",
        "pipeline/data/digits/raw.py",
        "pipeline/data/digits/recordings.py",
        "pipeline/data/digits/speech.py",
        "pipeline/data/digits/waves.py",
        "pipeline/data/documents.py",
        "pipeline/data/sources",
    ],
    "tokenize": [
        *DATA,
        "pipeline/data/cleaning.py",
        "pipeline/data/digits/__init__.py",
        "pipeline/data/digits/mel.py",
        "pipeline/data/digits/prepare.py",
        "pipeline/data/digits/waves.py",
        "pipeline/data/documents.py",
        "pipeline/data/duplicates.py",
        "pipeline/data/language.py",
        "pipeline/data/problems.py",
        "pipeline/data/ready.py",
        "pipeline/data/shards.py",
        "pipeline/data/splits.py",
        "pipeline/tensors.py",
    ],
    "train": [
        *DATA,
        *MODEL,
        *NATIVE,
        "pipeline/data/features.py",
        "pipeline/data/ready.py",
        "pipeline/data/sampler.py",
        "pipeline/data/samples.py",
        "pipeline/data/shards.py",
        "pipeline/data/windows.py",
        "pipeline/models/generation.py",
        "pipeline/rng.py",
        "pipeline/tensors.py",
        "pipeline/training",
    ],
    "quantize": [
        *DATA,
        *MODEL,
        *NATIVE,
        "pipeline/data/features.py",
        "pipeline/data/ready.py",
        "pipeline/data/sampler.py",
        "pipeline/data/samples.py",
        "pipeline/data/shards.py",
        "pipeline/data/windows.py",
        "pipeline/models/generation.py",
        "pipeline/quantization",
        "pipeline/rng.py",
        "pipeline/tensors.py",
        "pipeline/training",
    ],
    "convert": [
        *DATA,
        *MODEL,
        *NATIVE,
        *PACKED,
        "pipeline/conversion",
        "pipeline/data/features.py",
        "pipeline/data/ready.py",
        "pipeline/data/samples.py",
        "pipeline/data/shards.py",
        "pipeline/data/windows.py",
        "pipeline/models/generation.py",
        "pipeline/rng.py",
        "pipeline/tensors.py",
    ],
    "evaluate": [
        *DATA,
        *MODEL,
        *NATIVE,
        *PACKED,
        "pipeline/conversion",
        "pipeline/data/features.py",
        "pipeline/data/ready.py",
        "pipeline/data/samples.py",
        "pipeline/data/shards.py",
        "pipeline/data/windows.py",
        "pipeline/evaluation",
        "pipeline/models/generation.py",
        "pipeline/rng.py",
        "pipeline/tensors.py",
    ],
    "report": [
        "pipeline/report",
    ],
}


def code(stage):
    """Input function: every file of the stage's code."""

    def files(wildcards):
        family = config["models"][wildcards.model]["family"] if "model" in wildcards.keys() else ""
        listed = [f"pipeline/stages/{stage}.py", *CORE, *CODE[stage]]
        return [str(file) for entry in listed for file in sources(Path(entry.format(family=family)))]

    return files


def sources(path):
    """A file itself, or all files below a folder."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def parameters(*keys):
    """Parameter function: `key = value` of params.yaml for each key; the job runs again when one changes."""

    def values(wildcards):
        names = [key.format(**dict(wildcards)) for key in keys]
        return [f"{name} = {json.dumps(reduce(dict.get, name.split('.'), config), sort_keys=True)}" for name in names]

    return values


def ready_data(wildcards):
    """Input function: the ready data of the model's data set."""
    dataset = config["models"][wildcards.model]["dataset"]
    return [f"data/ready/{dataset}/{name}" for name in READY]


def training_threads(wildcards):
    """Threads that the model's training takes."""
    return training(wildcards).get("threads", 1)


def training_devices(wildcards):
    """CUDA devices that the model's training takes."""
    return int(training(wildcards).get("device") == "cuda")


def training(wildcards):
    return config["models"][wildcards.model]["training"]


def quantization_threads(wildcards):
    """Threads that quantizing the model takes."""
    return quantization(wildcards).get("threads", 1)


def quantization_devices(wildcards):
    """CUDA devices that quantizing the model takes."""
    return int(quantization(wildcards).get("device") == "cuda")


def quantization(wildcards):
    return config["models"][wildcards.model]["quantization"].get("training") or {}


def growing(amount):
    """Resource function: `amount` at the first try, and as much again at each retry, since memory or time may have run out."""

    def of(wildcards, attempt):
        return attempt * amount

    return of


def require_slurm():
    """Raise `WorkflowError`, before any job, where jobs go to Slurm and none answers."""
    if workflow.executor_plugin.name != "slurm":
        return
    remedy = "start Snakemake on a machine that submits to a cluster, or without profiles/slurm"
    try:
        subprocess.run(["sinfo", "--noheader"], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise WorkflowError(f"there is no Slurm here (sinfo is not found): {remedy}") from None
    except subprocess.CalledProcessError as error:
        raise WorkflowError(f"Slurm does not answer ({error.stderr.strip().splitlines()[-1]}): {remedy}") from None
