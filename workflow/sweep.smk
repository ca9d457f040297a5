# One model at every point of a grid of parameters, several at a time, and `python -m pipeline sweep` over them in the end:
#   snakemake -s workflow/sweep.smk -j2 --config sweep=rates model=calculator grid='{models.calculator.training.learning_rate: [0.001, 0.004]}'
# or --configfile with these three keys. Each point has a working copy of the project, sweeps/NAME/NAME-1 ..., in which Snakefile runs: what
# was made is not made again. `--workflow-profile profiles/slurm` makes each point a job of the cluster.
import copy
import itertools
import json

import yaml
from snakemake.utils import min_version, validate

min_version("9.10")


configfile: "params.yaml"


SWEEP, SUBJECT, GRID = (config.get(key) for key in ("sweep", "model", "grid"))
PROJECT = {key: value for key, value in config.items() if key not in ("sweep", "model", "grid")}
if (
    not SWEEP
    or SUBJECT not in PROJECT["models"]
    or not isinstance(GRID, dict)
    or not all(isinstance(values, list) for values in GRID.values())
):
    raise WorkflowError(
        "say --config sweep=NAME model=MODEL grid='{KEY: [VALUE, VALUE], ...}', with a model and keys of params.yaml: "
        f"now sweep = {SWEEP!r}, model = {SUBJECT!r}, grid = {GRID!r}"
    )


include: "common.smk"


module project:
    snakefile:
        "../Snakefile"
    config:
        PROJECT


use rule download from project


use rule tokenize from project


def at(values):
    """The parameters of one point: those of params.yaml with some values of the grid."""
    changed = copy.deepcopy(PROJECT)
    for key, value in values.items():
        *blocks, last = key.split(".")
        block = reduce(lambda block, name: block.setdefault(name, {}), blocks, changed)
        block[last] = yaml.safe_load(value) if isinstance(value, str) else value  # numbers inside a value of --config come as text
    validate(changed, "params.schema.yaml", set_default=False)
    return changed


POINTS = {f"{SWEEP}-{i}": at(dict(zip(GRID, values))) for i, values in enumerate(itertools.product(*GRID.values()), 1)}
SHARED = all(key.startswith("models.") and not key.endswith(".dataset") for key in GRID)


def data_of(wildcards):
    """Input function: the project's ready data, where every point has the same."""
    return [f"data/ready/{PROJECT['models'][SUBJECT]['dataset']}/{name}" for name in READY] if SHARED else []


def code_of_model(wildcards):
    """Input function: the code of all stages."""
    family = PROJECT["models"][SUBJECT]["family"]
    listed = {entry.format(family=family) for stage in CODE for entry in [f"pipeline/stages/{stage}.py", *CORE, *CODE[stage]]}
    return sorted(str(file) for entry in listed for file in sources(Path(entry)))


wildcard_constraints:
    point="|".join(POINTS),


localrules:
    sweep,
    download,


rule sweep:
    default_target: True
    input:
        expand(f"sweeps/{SWEEP}/{{point}}/metrics/{SUBJECT}/evaluate.json", point=POINTS),
    output:
        expand(f"sweeps/{SWEEP}/{{name}}", name=["sweep.csv", "pareto.svg", "parallel.svg"]),
    log:
        f"logs/sweep/{SWEEP}.log",
    shell:
        "python -m pipeline sweep {SWEEP} --model {SUBJECT} 2>&1 | tee {log}"


rule point:
    input:
        data=data_of,
        code=code_of_model,
    output:
        f"sweeps/{SWEEP}/{{point}}/metrics/{SUBJECT}/evaluate.json",
    log:
        f"logs/sweep/{SWEEP}/{{point}}.log",
    threads: PROJECT["models"][SUBJECT]["training"].get("threads", 1)
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        shared=SHARED,
        parameters=lambda wildcards: json.dumps(POINTS[wildcards.point]),
    script:
        "point.py"
