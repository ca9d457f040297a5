#!/usr/bin/env bash
# One command for a machine with a GPU, no network needed: builds the extension with CUDA, runs the tests that need a device, also under
# compute-sanitizer, then the benchmarks, and writes one JSON with the device's name. Ten minutes at most; a step that fails is recorded,
# the others still run, and the exit code says so.
#   bench/gpu.sh [FOLDER]     gpu.json goes to FOLDER (default: $OUT, else bench/results). PYTHON=python3.12 chooses the interpreter.
# Needs nvcc (CUDA >= 12.8), cmake and torch with CUDA; pybind11's headers are taken from torch where pybind11 is not installed.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
out=${1:-${OUT:-bench/results}}
build=build/gpu
deadline=$((SECONDS + 590))

fail() { echo "error: $1" >&2; exit 2; }
nvidia-smi -L 2>/dev/null | grep -q "^GPU " || fail "nvidia-smi finds no GPU here: run bench/gpu.sh on a machine that has one"
for tool in nvcc cmake; do command -v "$tool" >/dev/null || fail "$tool is missing: install it, or bring it along and put it in PATH"; done
"$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null || fail "$python has no torch that finds the GPU: install torch with CUDA"

rm -rf "$build/steps" && mkdir -p "$out" "$build/steps"
export PYTHONPATH="$PWD/$build:$PWD" CUBLAS_WORKSPACE_CONFIG=:4096:8

# step NAME SECONDS COMMAND...: runs it with a time limit; what it printed and how it ended are kept for the JSON.
step() {
  local name=$1 limit=$2 left=$((deadline - SECONDS)) start=$SECONDS
  shift 2
  echo "== $name"
  timeout --kill-after=5 "$((left < limit ? (left > 1 ? left : 1) : limit))" "$@" 2>&1 | tee "$build/steps/$name.log"
  local code=${PIPESTATUS[0]}
  echo "$name $code $((SECONDS - start))" >> "$build/steps/ended"
  return "$code"
}

compile() {
  local headers generator=()
  headers=$("$python" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parent / "include")')
  command -v ninja >/dev/null && generator=(-G Ninja)
  cmake -S native -B "$build" "${generator[@]}" -DQUINTET_CUDA=ON -DQUINTET_PYBIND11="$headers" -DPython_EXECUTABLE="$(command -v "$python")" &&
    cmake --build "$build" -j "$(nproc)"
}
export -f compile
export python build

if step build 300 bash -c compile; then
  tests=("$python" -m pytest -q -m gpu -o addopts= -o minversion=0 -p no:cacheprovider tests/unit/ops)
  step tests 120 "${tests[@]}"
  for tool in memcheck racecheck; do
    step "$tool" 100 compute-sanitizer --tool "$tool" --error-exitcode 9 --target-processes all "${tests[@]}" -x
  done
  for name in gpu_linear gpu_recurrent gpu_spiking; do
    step "$name" 90 "$python" -m "bench.$name" --json "$build/steps/$name.json"
  done
fi

"$python" - "$build/steps" "$out/gpu.json" << 'END'
import json, pathlib, subprocess, sys
import torch

steps, target = map(pathlib.Path, sys.argv[1:])
query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
driver = subprocess.run(query, capture_output=True, text=True).stdout.split("\n")[0]
device = {"name": torch.cuda.get_device_name(), "driver": driver, "cuda": torch.version.cuda, "torch": torch.__version__}
ended = [line.split() for line in (steps / "ended").read_text().splitlines()]
report = {"device": device, "steps": {}, "benchmarks": {}}
for name, code, seconds in ended:
    said = (steps / f"{name}.log").read_text(errors="replace")
    report["steps"][name] = {"exit_code": int(code), "seconds": int(seconds), "said": said[-(2000 if code == "0" else 8000):]}
for path in sorted(steps.glob("gpu_*.json")):
    report["benchmarks"][path.stem] = json.loads(path.read_text())
target.write_text(json.dumps(report, indent=2) + "\n")
failed = [name for name, code, _ in ended if code != "0"]
print(f"{target}: {device['name']}, " + (f"FAILED: {', '.join(failed)}" if failed else "all steps went well"))
sys.exit(bool(failed))
END
