"""The event log: whole lines, whatever happens."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import io
from pipeline.errors import UserError
from pipeline.tracking import EventLog, events, open_log, system

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUINTET_TRACKING", "off")
    for name in ("DVC_ROOT", "QUINTET_HOME"):
        monkeypatch.delenv(name, raising=False)


def logged() -> list[dict]:
    (log,) = Path(".quintet/events").glob("*.jsonl")
    return events.read(log)[0]


def test_begin_says_what_ran_where(monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "wide-otter")
    with open_log("quantize", "shakespeare", {"models.shakespeare.dataset": "plays"}):
        pass
    begin = logged()[0]
    assert (begin["stage"], begin["target"], begin["parameters"]) == ("quantize", "shakespeare", {"models.shakespeare.dataset": "plays"})
    assert begin["pid"] == os.getpid() and begin["dvc"] == {"exp": "wide-otter"} and begin["git"] is None
    assert begin["versions"]["torch"] and begin["python"] == sys.version.split()[0]


def test_commit_and_dirt(tmp_path):
    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    for name in ("code.py", "dvc.lock"):
        (tmp_path / name).write_text("1")
    git("add", ".")
    git("commit", "-qm", "first")
    (tmp_path / "dvc.lock").write_text("a run rewrites it")
    with open_log("report", None, {}):
        pass
    (tmp_path / "code.py").write_text("edited")
    with open_log("evaluate", "m", {}):
        pass
    states = {log.name.split("-")[1]: events.read(log)[0][0]["git"] for log in Path(".quintet/events").iterdir()}
    assert states["report"] == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    assert states["evaluate"]["dirty"] is True


@pytest.mark.parametrize(("error", "status"), [(ValueError("no"), "failed"), (KeyboardInterrupt(), "stopped"), (None, "finished")])
def test_end_says_how(error, status):
    try:
        with open_log("evaluate", "m", {}):
            if error:
                raise error
    except (ValueError, KeyboardInterrupt) as raised:
        assert raised is error
    end = logged()[-1]
    assert end["event"] == "end" and end["status"] == status
    assert end["reason"] == (f"{type(error).__name__}: {error}" if error else "")


def test_published_figures_are_in_the_log_itself(tmp_path):
    metrics, plot, weights = Path("metrics/m/evaluate.json"), Path("plots/m/evaluate.csv"), Path("models/m/model.safetensors")
    io.write_json(metrics, {"float": {"loss": 1.5}})
    io.write_csv(plot, [{"position": 1, "float": 2.0}])
    io.write_bytes(weights, b"weights")
    card = Path("exports/m/huggingface/README.md")
    io.write_bytes(card, b"# m")
    with open_log("evaluate", "m", {}) as log:
        log.published([metrics, plot, weights, Path("exports/m")])
    metrics.unlink()
    found = {event["event"]: event for event in logged()}
    assert found["results"]["values"] == {"float": {"loss": 1.5}}
    attached = {event["path"]: event["folder"] for event in logged() if event["event"] == "artifact"}
    assert attached == {str(metrics): "metrics", str(plot): "plots", str(card): "model_card"}


def test_a_kill_leaves_whole_lines(tmp_path):
    """A process that is killed while it writes loses at most the line that it was writing, and the reader says so to nobody."""
    log = tmp_path / "killed.jsonl"
    code = (
        f"from pathlib import Path; from pipeline.tracking import EventLog; log = EventLog(Path({str(log)!r}))\nprint('go', flush=True)\n"
    )
    code += "i = 0\nwhile True:\n    log.metrics({'loss': i}, step=i); i += 1\n"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"go\n"
    while log.stat().st_size < 20_000:
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with log.open("ab") as file:
        file.write(b'{"event": "metr')
    found, position = events.read(log)
    assert [event["step"] for event in found] == list(range(len(found))) and len(found) > 100
    assert position == log.stat().st_size - len(b'{"event": "metr')


def test_a_damaged_log_is_named(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"event": "begin"}\nnot json\n')
    with pytest.raises(UserError, match=r"log\.jsonl is damaged .*: delete it"):
        events.read(log)


def test_read_goes_on_where_it_was(tmp_path):
    log = EventLog(tmp_path / "log.jsonl")
    log.metrics({"loss": 1.0})
    first, position = events.read(log.path)
    log.tags({"a": "b"})
    second, end = events.read(log.path, position)
    assert [event["event"] for event in first + second] == ["metrics", "tags"]
    assert events.read(log.path, end) == ([], end)


def test_a_full_disk_does_not_stop_the_stage(capfd):
    log = EventLog(Path("/dev/full"))
    for step in range(3):
        log.metrics({"loss": 1.0}, step)
    assert capfd.readouterr().err.count("cannot be written") == 1


def test_system_metrics_have_at_least_one_sample():
    samples = []
    with system.sampled(lambda values, step: samples.append((step, values)), interval=0.05):
        sum(i * i for i in range(3_000_000))
    assert [step for step, _ in samples] == list(range(len(samples))) and len(samples) >= 2
    assert samples[-1][1]["system/process_memory_megabytes"] > 5
    assert any(values["system/process_cpu_percent"] > 10 for _, values in samples)


def test_values_are_plain_numbers(tmp_path):
    import numpy as np

    log = EventLog(tmp_path / "log.jsonl")
    log.metrics({"loss": np.float32(0.5)}, step=3)
    assert json.loads(log.path.read_text())["values"] == {"loss": 0.5}
