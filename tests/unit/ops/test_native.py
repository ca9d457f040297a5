import datetime
import os
import shutil
import subprocess
import sys

import pytest
import torch

from pipeline import ops
from pipeline.errors import UserError
from pipeline.ops import native


@pytest.fixture
def fresh():
    native.module.cache_clear()
    yield
    native.module.cache_clear()


def test_module_is_built_from_these_sources():
    assert native.module().source_hash == native.source_hash(native.SOURCES)


def test_stale_module_is_refused(tmp_path, monkeypatch, fresh):
    shutil.copytree(native.SOURCES, tmp_path / "native")
    monkeypatch.setattr(native, "SOURCES", tmp_path / "native")
    assert native.module()
    native.module.cache_clear()
    with (tmp_path / "native/src/cpu/packing.cpp").open("a") as file:
        file.write("\n")
    with pytest.raises(UserError, match=r"built from other sources .* run `make build`"):
        native.module()


def test_tests_and_stray_files_do_not_count(tmp_path):
    shutil.copytree(native.SOURCES, tmp_path / "native")
    (tmp_path / "native/tests/more.cpp").write_text("int x;")
    assert native.source_hash(tmp_path / "native") == native.source_hash(native.SOURCES)


def test_missing_module_is_a_users_error(monkeypatch, fresh):
    monkeypatch.setitem(sys.modules, "quintet_native", None)
    with pytest.raises(UserError, match="run `make build`"):
        native.module()


def test_objects_that_are_no_tensors_are_refused():
    with pytest.raises(ValueError, match="digits must be a tensor"):
        native.module().pack(3, 5, 4)
    with pytest.raises(ValueError, match="digits must be a DLPack tensor"):
        native.module().pack(datetime.datetime_CAPI, 5, 4)


def test_imports_where_the_stages_packages_are_not_installed():
    """A machine with only torch can use the operations."""
    blocked = ["pydantic", "yaml", "mlflow", "dvc", "typer", "rich"]
    use = "from pipeline import models, ops; import torch; models.family('transformer'); print(ops.pack(torch.zeros(1, 3).char()).tolist())"
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked})); {use}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{ops.pack(torch.zeros(1, 3, dtype=torch.int8)).tolist()}\n"), done.stderr


def test_backends_and_devices():
    built = native.module()
    assert built.backends in (("cpu",), ("cpu", "cuda"))
    assert len(built.cuda_devices()) == (torch.cuda.device_count() if "cuda" in built.backends else 0)
    for device in built.cuda_devices():
        assert device["capability"] >= (8, 0) and device["multiprocessors"] > 0 and device["memory"] > 0 and device["name"]


def test_missing_cuda_kernels_are_a_users_error():
    with pytest.raises(UserError, match=r"fold has no CUDA kernels: install nvcc \(CUDA >= 12.8\) and run `make build`"):
        native.call_cuda("fold", torch.device("cuda", 0))


def test_cuda_that_is_asked_for_but_missing_stops_the_build(tmp_path):
    def configure(cuda):
        options = [f"-DQUINTET_CUDA={cuda}", "-DQUINTET_PYTHON=OFF", "-DCMAKE_CUDA_COMPILER=NOTFOUND"]
        command = ["cmake", "-S", native.SOURCES, "-B", tmp_path, *options]
        return subprocess.run(command, env={**os.environ, "CUDACXX": "no-such-nvcc"}, capture_output=True, text=True, check=False)

    needed = configure("ON")
    assert needed.returncode != 0
    assert "no working nvcc is found: install the CUDA toolkit" in " ".join(needed.stderr.split())
    assert "it must be AUTO, ON or OFF" in configure("MAYBE").stderr
    assert configure("AUTO").returncode == 0
