"""profiles/kubernetes without a cluster: a stand-in for kubectl runs each Job's container here. Kubernetes itself is not part of it."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workspace import PROJECT, Workspace, clone, environment

KUBECTL = """#!{python}
import json, os, subprocess, sys
from pathlib import Path
jobs = Path({jobs!r})
action, name = sys.argv[1], sys.argv[2]
if action == "create":
    job = json.load(sys.stdin)
    name = f"quintet-{{len(list(jobs.iterdir()))}}"
    (jobs / name).write_text(json.dumps(job))
    stage = job["spec"]["template"]["spec"]["containers"][0]
    done = subprocess.run(stage["command"], cwd=stage["workingDir"], stdout=sys.stderr, env=dict(os.environ, QUINTET_IMAGE="of a pod"))
    kind = "Failed" if done.returncode else "Complete"
    job["status"] = {{"conditions": [{{"type": kind, "status": "True"}}]}}
    (jobs / name).write_text(json.dumps(job))
    print(f"job.batch/{{name}}")
elif action == "get":
    print((jobs / name.partition("/")[2]).read_text())
else:
    (jobs / "cancelled").write_text(" ".join(sys.argv[2:]))
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A folder with kubectl in it, and the jobs it was given in `jobs`."""
    (tmp_path / "jobs").mkdir()
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL.format(python=sys.executable, jobs=str(tmp_path / "jobs")))
    kubectl.chmod(0o755)
    return tmp_path


def job(cluster: Path, *arguments: str, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    env = environment(QUINTET_IMAGE="quintet:1", QUINTET_CLAIM="disk")
    env["PATH"] = f"{cluster}{os.pathsep}{env['PATH']}"
    command = [sys.executable, str(PROJECT / "profiles/kubernetes/job.py"), *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


@pytest.mark.parametrize(("code", "state"), [("0", "success"), ("3", "failed")])
def test_a_job_is_submitted_asked_for_and_cancelled(cluster: Path, tmp_path: Path, code: str, state: str) -> None:
    (tmp_path / "script.sh").write_text(f"pwd > here\nexit {code}\n")
    name = job(cluster, "submit", "2", "4000", "60", "1", str(tmp_path / "script.sh"), cwd=tmp_path).stdout.strip()
    assert (tmp_path / "here").read_text().strip() == str(tmp_path)
    assert job(cluster, "status", name).stdout.strip() == state
    spec = json.loads((cluster / "jobs/quintet-0").read_text())["spec"]
    pod = spec["template"]["spec"]
    assert (spec["activeDeadlineSeconds"], spec["backoffLimit"]) == (3600, 0)
    assert pod["containers"][0]["resources"]["requests"] == {"cpu": "2", "memory": "4000M"}
    assert pod["containers"][0]["resources"]["limits"] == {"memory": "4000M", "nvidia.com/gpu": "1"}
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "disk"}
    assert job(cluster, "cancel", name).returncode == 0 and name in (cluster / "jobs/cancelled").read_text()


def test_a_job_that_has_no_end_yet_is_running() -> None:
    source = importlib.util.spec_from_file_location("job", PROJECT / "profiles/kubernetes/job.py")
    assert source and source.loader
    module = importlib.util.module_from_spec(source)
    source.loader.exec_module(module)
    assert module.state({}) == module.state({"status": {"conditions": [{"type": "Complete", "status": "False"}]}}) == "running"


@pytest.mark.parametrize("name", ["kubernetes", "slurm"])
def test_the_profile_says_what_the_default_one_does(name: str) -> None:
    import yaml

    default, ours = (yaml.safe_load((PROJECT / f"profiles/{profile}/profile.yaml").read_text()) for profile in ("default", name))
    del default["cores"], default["resources"]  # what this machine has
    assert default.items() <= ours.items()


@pytest.mark.full
@pytest.mark.skipif(
    importlib.util.find_spec("snakemake_executor_plugin_cluster_generic") is None, reason="needs snakemake-executor-plugin-cluster-generic"
)
def test_snakemake_runs_stages_as_jobs(cluster: Path) -> None:
    workspace: Workspace = clone(cluster / "quintet")
    path = f"{cluster}{os.pathsep}{workspace.environment['PATH']}"
    target = "data/ready/arithmetic/dataset.json"
    command = ["python", "-m", "snakemake", "--workflow-profile", "profiles/kubernetes"]
    assert "tokenize" in workspace.run(*command, "--dry-run", PATH=path, QUINTET_IMAGE="quintet:1")
    workspace.run(*command, target, PATH=path, QUINTET_IMAGE="quintet:1")
    assert (workspace.folder / target).is_file() and len(list((cluster / "jobs").iterdir())) == 1  # `download` is a local rule
