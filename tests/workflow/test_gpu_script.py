"""bench/gpu.sh on a machine without a GPU, and the build that it makes where pybind11 is not installed."""

import re
import subprocess
from pathlib import Path

from tests.workspace import PROJECT, environment


def test_a_machine_without_a_gpu_ends_it_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'No devices were found'\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    env = environment()
    env["PATH"] = f"{tmp_path}:{env['PATH']}"
    done = subprocess.run([PROJECT / "bench/gpu.sh", tmp_path / "out"], env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert re.fullmatch(r"error: nvidia-smi finds no GPU here: run bench/gpu.sh on a machine that has one\n", done.stderr)
    assert done.stdout == "" and not (tmp_path / "out").exists()


def test_a_python_without_pybind11_is_told_what_to_set(tmp_path: Path) -> None:
    command = ["cmake", "-S", PROJECT / "native", "-B", tmp_path, "-DQUINTET_CUDA=OFF", "-DCMAKE_DISABLE_FIND_PACKAGE_pybind11=ON"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1
    assert "pybind11 is not installed: install it, or set QUINTET_PYBIND11" in " ".join(done.stderr.split())
