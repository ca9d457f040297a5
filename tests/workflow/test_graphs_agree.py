"""dvc.yaml, Snakefile and `pipeline.paths` describe one graph."""

from pathlib import Path

import pytest

from pipeline import config as configuration
from pipeline import paths
from pipeline.stages.runner import OF_DATASETS
from tests.workflow.graphs import Job, dvc_jobs, snakemake_jobs
from tests.workspace import PROJECT


@pytest.fixture(scope="module")
def by_dvc() -> dict[str, Job]:
    return {job.command: job for job in dvc_jobs()}


@pytest.fixture(scope="module")
def by_snakemake() -> dict[str, Job]:
    return {job.command: job for job in snakemake_jobs()}


@pytest.fixture(scope="module")
def declared() -> dict[str, tuple[str, str | None, paths.Files]]:
    """What `pipeline.paths` says of each command."""
    config = configuration.load(PROJECT / "params.yaml")
    targets = {stage: list(config.datasets if stage in OF_DATASETS else config.models) for stage in configuration.STAGE_PARAMETERS}
    targets["report"] = [None]
    return {
        f"python -m pipeline {stage} {target or ''}".strip(): (stage, target, paths.files(stage, target, _dataset(config, target)))
        for stage, names in targets.items()
        for target in names
    }


def _dataset(config, target):
    return config.models[target].dataset if target in config.models else None


def test_both_have_the_same_commands(by_dvc, by_snakemake, declared):
    assert by_dvc.keys() == by_snakemake.keys() == declared.keys()


@pytest.mark.parametrize("field", ["inputs", "outputs", "code", "parameters"])
def test_each_command_has_the_same(field, by_dvc, by_snakemake):
    assert {c: getattr(job, field) for c, job in by_dvc.items()} == {c: getattr(job, field) for c, job in by_snakemake.items()}


def test_inputs_and_outputs_are_those_of_the_stages(by_dvc, declared):
    everything = {output for job in by_dvc.values() for output in job.outputs}
    for command, (_, _, files) in declared.items():
        inputs = {below for path in map(str, files.inputs) for below in _below(path, everything)}
        assert (by_dvc[command].inputs, by_dvc[command].outputs) == (inputs, set(map(str, files.outputs)))


def _below(path: str, outputs: set[str]) -> list[str]:
    return [path] if path in outputs else [output for output in outputs if output.startswith(f"{path}/")]


def test_parameters_are_those_that_the_stage_may_read(by_dvc, declared):
    assert {c: job.parameters for c, job in by_dvc.items()} == {c: set(configuration.keys(s, t)) for c, (s, t, _) in declared.items()}


def test_code_exists_and_no_stage_but_the_last_depends_on_the_report(by_dvc):
    for command, job in by_dvc.items():
        assert all((PROJECT / file).is_file() for file in job.code), command
        stage = command.split()[3]
        others = {file for file in job.code if file.startswith("pipeline/stages/")} - {f"pipeline/stages/{stage}.py"}
        assert others == {"pipeline/stages/__init__.py", "pipeline/stages/runner.py"}
        assert not any(Path(file).match("pipeline/apps/*") for file in job.code)


def test_the_schema_that_snakemake_checks_is_the_one_of_the_configuration():
    from pipeline.apps import presets

    assert (PROJECT / paths.SCHEMA).read_text() == presets.schema_text(), "run `python -m pipeline schema`"
