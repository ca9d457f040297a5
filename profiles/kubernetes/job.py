"""A job of Snakemake's as a Job of Kubernetes, by kubectl: what `cluster-generic` calls to submit, to ask for the state, and to cancel.

job.py submit CPUS MEGABYTES MINUTES GPUS SCRIPT    # prints the job's name
job.py status NAME                             # prints running, success or failed
job.py cancel NAME...
"""

import json
import os
import subprocess
import sys
from pathlib import Path


def main(action: str, *arguments: str) -> None:
    match action, arguments:
        case "submit", (_, _, _, _, _):
            print(kubectl("create", "--output", "name", "--filename", "-", given=json.dumps(manifest(*arguments))))
        case "status", (name,):
            print(state(json.loads(kubectl("get", name, "--output", "json"))))
        case "cancel", names if names:
            kubectl("delete", "--ignore-not-found", *names)
        case _:
            sys.exit(__doc__)


def manifest(cpus: str, megabytes: str, minutes: str, gpus: str, script: str) -> dict[str, object]:
    """The Job: one container, with the shared volume where it is here; it is not started again, since Snakemake retries."""
    devices = {} if gpus == "0" else {"nvidia.com/gpu": gpus}
    volume = os.environ.get("QUINTET_VOLUME", "/project")
    stage = {
        "name": "stage",
        "image": os.environ["QUINTET_IMAGE"],
        "command": ["bash", script],
        "workingDir": str(Path.cwd()),
        "resources": {"requests": {"cpu": cpus, "memory": f"{megabytes}M"}, "limits": {"memory": f"{megabytes}M", **devices}},
        "volumeMounts": [{"name": "project", "mountPath": volume}],
    }
    claim = {"name": "project", "persistentVolumeClaim": {"claimName": os.environ.get("QUINTET_CLAIM", "quintet")}}
    pod = {"restartPolicy": "Never", "containers": [stage], "volumes": [claim]}
    spec = {"backoffLimit": 0, "activeDeadlineSeconds": 60 * int(minutes), "ttlSecondsAfterFinished": 86400, "template": {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"generateName": "quintet-"}, "spec": spec}


def state(job: dict[str, dict[str, list[dict[str, str]]]]) -> str:
    """What Snakemake calls the state that Kubernetes reports."""
    true = {condition["type"] for condition in job.get("status", {}).get("conditions", []) if condition["status"] == "True"}
    return "success" if "Complete" in true else "failed" if "Failed" in true else "running"


def kubectl(*arguments: str, given: str | None = None) -> str:
    done = subprocess.run(["kubectl", *arguments], input=given, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)  # it said why
    return done.stdout.strip()


if __name__ == "__main__":
    main(*(sys.argv[1:] or [""]))
