"""Promise: what MLflow's registry has is loaded where only the wheel is installed, and answers over HTTP."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import quintet_native

from tests.unit.apps import small_packed
from tests.unit.tracking.conftest import judge
from tests.workspace import PROJECT, environment

FIGURES = {"language": "bits_per_byte", "arithmetic": "exact_match", "classification": "accuracy"}
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}

ASK = """
import json, sys
import mlflow, pipeline
assert pipeline.__file__.startswith(sys.argv[1]), pipeline.__file__
def load(name):
    return mlflow.pyfunc.load_model(f"models:/{name}@champion")
language, drawing = load("language"), {"max_tokens": 8, "temperature": 0.7, "seed": 3}
texts = [language.predict(prompts, params=drawing)[-1] for prompts in (["a dog"], ["the cat", "a dog"])]
classes = load("classification").predict([{"text": "seven", "image": None}, {"text": None, "image": [[1.0] * 8] * 8}])
print(json.dumps({"texts": texts, "answers": load("arithmetic").predict(["12+3=", "20-1="]), "classes": classes}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the wheel's content; the native module is the one that these tests use, which takes a compiler minutes to make."""
    source, wheels, site = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "site"))
    for name in ("pipeline", "libneurogen", "native/CMakeLists.txt", "pyproject.toml", "LICENSE"):
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        (source / name).parent.mkdir(exist_ok=True)
        copy(PROJECT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "wheel", *offline, "--config-settings=wheel.cmake=false", f"--wheel-dir={wheels}", str(source)], check=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", f"--target={site}", str(wheel)], check=True)
    shutil.copy(quintet_native.__file__, site)
    return site


@pytest.fixture
def store(project, tmp_path_factory, installed) -> dict[str, str]:
    """The environment of a process that has the wheel, and a store with a champion of each task."""
    for task, directory in small_packed.write(tmp_path_factory.mktemp("packed")).items():
        shutil.copytree(directory, project / "quantized" / task)
        judge(task * 2, 1.0, task, FIGURES[task], prompt=None)
    return environment(PYTHONPATH=str(installed), MLFLOW_TRACKING_URI=f"sqlite:///{project}/mlflow.db", **QUIET)


@pytest.mark.slow
def test_a_champion_answers_in_a_process_with_the_wheel_and_over_http(store, installed, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(installed)], cwd=elsewhere, env=store, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    given = json.loads(done.stdout.splitlines()[-1])
    assert given["texts"][0] == given["texts"][1] and len(given["texts"][0]) == 8 and len(given["answers"]) == 2
    assert all(set(each) == {"class", "probability"} for each in given["classes"])

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = ["-m", "mlflow", "models", "serve", "--model-uri", "models:/language@champion", "--env-manager", "local", "--port", str(port)]
    with (elsewhere / "said.txt").open("wb") as said:
        server = subprocess.Popen([sys.executable, *serve], cwd=elsewhere, env=store, stdout=said, stderr=said, start_new_session=True)
    try:
        body = {"inputs": ["a dog"], "params": {"max_tokens": 8, "temperature": 0.7, "seed": 3}}
        assert ask(port, body, server, elsewhere) == {"predictions": given["texts"][:1]}
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(port, {"inputs": ["CAT"]}, server, elsewhere)
        assert refused.value.code == 400 and "does not know 'C'" in refused.value.read().decode()
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def ask(port: int, body: dict, server: subprocess.Popen, folder: Path) -> dict:
    """The answer of a server, which may still be starting."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    until = time.monotonic() + 180
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError:
            raise
        except OSError:
            assert server.poll() is None and time.monotonic() < until, (folder / "said.txt").read_text()
            time.sleep(0.5)
