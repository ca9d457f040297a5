# The graph, for Snakemake: `snakemake -j2`. dvc.yaml says the same for DVC, and tests/workflow/test_graphs_agree.py compares the two.
# `dvc commit -f` afterwards records what was made, byte for byte as `dvc repro` would have.
from snakemake.utils import min_version, validate

min_version("9.10")


configfile: "params.yaml"


validate(config, "workflow/params.schema.yaml", set_default=False)


report: "workflow/report/workflow.rst"


# For `--sdm apptainer`: any image with this Python will do; the packages come from the .venv that was made in it.
container: "docker://python:3.11.14-slim-bookworm"


include: "workflow/common.smk"


wildcard_constraints:
    dataset="|".join(DATASETS),
    model="|".join(MODELS),


onstart:
    require_slurm()


localrules:
    all,
    download,
    report,


rule all:
    input:
        "report/index.html",
        "report/summary.json",


rule download:
    input:
        code=code("download"),
    output:
        documents="data/raw/{dataset}/documents.jsonl",
        source="data/raw/{dataset}/source.json",
    log:
        "logs/download/{dataset}.log",
    benchmark:
        "benchmarks/download/{dataset}.tsv"
    retries: 2
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(60),
        gpu=0,
    params:
        parameters=parameters("seed", "datasets.{dataset}"),
    shell:
        "python -m pipeline download {wildcards.dataset} > {log} 2>&1"


rule tokenize:
    input:
        documents="data/raw/{dataset}/documents.jsonl",
        source="data/raw/{dataset}/source.json",
        code=code("tokenize"),
    output:
        expand("data/ready/{{dataset}}/{name}", name=READY),
    log:
        "logs/tokenize/{dataset}.log",
    benchmark:
        "benchmarks/tokenize/{dataset}.tsv"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
        gpu=0,
    params:
        parameters=parameters("seed", "datasets.{dataset}"),
    shell:
        "python -m pipeline tokenize {wildcards.dataset} > {log} 2>&1"


rule train:
    input:
        ready=ready_data,
        code=code("train"),
    output:
        model=expand("models/{{model}}/{name}", name=WEIGHTS),
        metrics="metrics/{model}/train.json",
        curve=report(
            "plots/{model}/train.csv",
            caption="workflow/report/train.rst",
            category="Training",
            labels={"model": "{model}", "shows": "learning curve"},
        ),
    log:
        "logs/train/{model}.log",
    benchmark:
        "benchmarks/train/{model}.tsv"
    threads: training_threads
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        gpu=training_devices,
    params:
        parameters=parameters(
            "seed",
            "models.{model}.family",
            "models.{model}.dataset",
            "models.{model}.architecture",
            "models.{model}.training",
        ),
    shell:
        "python -m pipeline train {wildcards.model} > {log} 2>&1"


rule quantize:
    input:
        model=expand("models/{{model}}/{name}", name=WEIGHTS),
        ready=ready_data,
        code=code("quantize"),
    output:
        model=expand("quantized/{{model}}/{name}", name=WEIGHTS),
        metrics="metrics/{model}/quantize.json",
        matrices=report(
            "plots/{model}/quantize.csv",
            caption="workflow/report/quantize.rst",
            category="Quantization",
            labels={"model": "{model}", "shows": "error of each matrix"},
        ),
    log:
        "logs/quantize/{model}.log",
    benchmark:
        "benchmarks/quantize/{model}.tsv"
    threads: quantization_threads
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        gpu=quantization_devices,
    params:
        parameters=parameters("seed", "models.{model}.dataset", "models.{model}.quantization"),
    shell:
        "python -m pipeline quantize {wildcards.model} > {log} 2>&1"


rule convert:
    input:
        model=expand("models/{{model}}/{name}", name=WEIGHTS),
        quantized=expand("quantized/{{model}}/{name}", name=WEIGHTS),
        ready=ready_data,
        code=code("convert"),
    output:
        exports=directory("exports/{model}"),
        metrics="metrics/{model}/convert.json",
    log:
        "logs/convert/{model}.log",
    benchmark:
        "benchmarks/convert/{model}.tsv"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        gpu=0,
    params:
        parameters=parameters("models.{model}.dataset", "models.{model}.formats"),
    shell:
        "python -m pipeline convert {wildcards.model} > {log} 2>&1"


rule evaluate:
    input:
        model=expand("models/{{model}}/{name}", name=WEIGHTS),
        quantized=expand("quantized/{{model}}/{name}", name=WEIGHTS),
        ready=ready_data,
        # a folder's time says nothing of its content, and a file's checksum does: convert.json holds the hash of the exports
        exports=ancient("exports/{model}"),
        converted="metrics/{model}/convert.json",
        code=code("evaluate"),
    output:
        metrics="metrics/{model}/evaluate.json",
        samples=report(
            "metrics/{model}/samples.txt",
            caption="workflow/report/samples.rst",
            category="Evaluation",
            labels={"model": "{model}", "shows": "samples"},
        ),
        figures=report(
            "plots/{model}/evaluate.csv",
            caption="workflow/report/evaluate.rst",
            category="Evaluation",
            labels={"model": "{model}", "shows": "figures"},
        ),
    log:
        "logs/evaluate/{model}.log",
    benchmark:
        "benchmarks/evaluate/{model}.tsv"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        gpu=0,
    params:
        parameters=parameters("seed", "models.{model}.dataset", "models.{model}.evaluation"),
    shell:
        "python -m pipeline evaluate {wildcards.model} > {log} 2>&1"


rule report:
    input:
        metrics=expand(
            "metrics/{model}/{stage}.json",
            model=MODELS,
            stage=["train", "quantize", "convert", "evaluate"],
        ),
        samples=expand("metrics/{model}/samples.txt", model=MODELS),
        plots=expand(
            "plots/{model}/{stage}.csv",
            model=MODELS,
            stage=["train", "quantize", "evaluate"],
        ),
        code=code("report"),
    output:
        page=report(
            "report/index.html",
            caption="workflow/report/report.rst",
            category="Report",
            labels={"model": "all", "shows": "everything"},
        ),
        summary="report/summary.json",
    log:
        "logs/report.log",
    benchmark:
        "benchmarks/report.tsv"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
        gpu=0,
    params:
        parameters=parameters("seed", "datasets", "models"),
    shell:
        "python -m pipeline report > {log} 2>&1"
