"""One point of a sweep (a script of workflow/sweep.smk): a working copy of the project with parameters of its own, and Snakefile run in it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

MADE = {"params.yaml", "data", "models", "quantized", "exports", "metrics", "plots", "report", "logs", "benchmarks", "sweeps", "dvc.lock"}
"""What is a point's own; of everything else its folder has links, so that code and sources are the project's."""
COMMON = ("downloads", "events", "locks")
"""What the points have in common below `.quintet`: not the state of trainings, since two points may have equal ones."""


def link(name, source):
    """A link to a file or folder of the project, which may have been something else before."""
    path = Path(name)
    if path.is_symlink():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(source)


def working_copy(project, parameters, shared):
    """Fill the working directory; `shared`: its data are the project's."""
    for entry in project.iterdir():
        if entry.name not in MADE and not entry.name.startswith("."):
            link(entry.name, entry)
    for name in COMMON:
        (project / ".quintet" / name).mkdir(parents=True, exist_ok=True)
        link(f".quintet/{name}", project / ".quintet" / name)
    if shared:
        link("data", project / "data")
    elif Path("data").is_symlink():
        Path("data").unlink()
    text = yaml.safe_dump(parameters, sort_keys=False)
    if not Path("params.yaml").exists() or Path("params.yaml").read_text() != text:
        Path("params.yaml").write_text(text)


def main():
    """Make the copy, then what of it is not made yet."""
    project, (target,) = Path.cwd(), snakemake.output
    folder = Path(target).parents[2]
    log = Path(snakemake.log[0]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    working_copy(project, json.loads(snakemake.params.parameters), snakemake.params.shared)
    environment = {"QUINTET_EXPERIMENT": folder.name, "QUINTET_HOME": ".quintet", "DVC_ROOT": str(project)}
    command = [sys.executable, "-m", "snakemake", "--cores", str(snakemake.threads), str(Path(target).relative_to(folder))]
    if snakemake.params.shared:
        command += ["--allowed-rules", "train", "quantize", "convert", "evaluate"]
    with log.open("w") as said:
        subprocess.run(command, env={**os.environ, **environment}, stdout=said, stderr=said, check=True)


main()
