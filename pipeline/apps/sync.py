"""`python -m pipeline sync`: bring event logs into MLflow; as a stage's child it follows one log while it grows."""

import os
import random
import socket
import threading
import time
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from pipeline.errors import UserError
from pipeline.progress import say
from pipeline.tracking import batch, location
from pipeline.tracking.events import read

if TYPE_CHECKING:
    from pipeline.tracking.sink import Sink
    from pipeline.tracking.store import Store

INTERVAL = 0.5
ATTEMPTS = 3
LONGEST_PAUSE = 30.0

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # repeating is done here, where it is noticed that the stage has ended
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def follow(log: Path, parent: int) -> None:
    """Send a log's events as they come, until its last one; dies with the stage (process `parent`).

    Raises `UserError` when the store fails repeatedly and the log has ended.
    """
    os.nice(5)
    threading.Thread(target=_die_with, args=(parent,), daemon=True, name="die-with-stage").start()
    sink, failures = None, 0
    while sink is None or not sink.ended:
        try:
            sink = sink or _sink(open_store(), log)
            sink.drain()
            failures = 0
        except Exception as error:  # a store may fail in any way, and none of them may matter to the stage
            if _is_refusal(error):
                raise UserError(_refused()) from None
            failures += 1
            print(f"attempt {failures}: {type(error).__name__}: {error}", flush=True)
            if failures >= ATTEMPTS and _has_ended(log):
                raise UserError(f"{location.uri()}: {_first_line(error)}") from None
        if sink is None or not sink.ended:
            _pause(log, failures)


def _die_with(parent: int) -> None:
    """End this process when the stage that started it is gone, whatever the main thread waits for."""
    while os.getppid() == parent:
        time.sleep(INTERVAL)
    os._exit(1)


def _pause(log: Path, failures: int) -> None:
    """Wait for more to send; after failures longer, with a random part so that several sinks do not repeat in step."""
    wait = min(INTERVAL * 2**failures, LONGEST_PAUSE) * random.uniform(0.5, 1)
    until = time.monotonic() + wait
    while time.monotonic() < until and not (failures >= ATTEMPTS and _has_ended(log)):
        time.sleep(INTERVAL / 2)


def _has_ended(log: Path) -> bool:
    return any(event["event"] == "end" for event in read(log)[0][-1:])


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _is_refusal(error: Exception) -> bool:
    """Whether a server answered, and will not let this user do it: repeating would not help."""
    status = getattr(error, "get_http_status_code", None)  # MLflow's exceptions have it
    return callable(status) and status() in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


def _refused() -> str:
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    who = f"the user {user!r} or the password" if user else "who does not say a name"
    return f"{location.uri()} refuses {who}: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to those of a user who may write"


def open_store() -> "Store":
    """The MLflow store; raises MLflow's or SQLAlchemy's errors."""
    for name, value in ENVIRONMENT.items():  # MLflow reads them when it is imported
        os.environ.setdefault(name, value)
    from pipeline.tracking.store import Store

    return Store()


def _sink(store: "Store", log: Path) -> "Sink":
    from pipeline.tracking.sink import Sink

    about = batch.head(read(log)[0])
    if about is None:
        raise UserError(f"{log} does not say to which training it belongs: give the log of a train, quantize, convert or evaluate stage")
    return Sink(store, log, about)


def replay() -> None:
    """Bring every event log that is not completely in the store into it; raises `UserError` when the store cannot be reached."""
    logs = sorted(location.logs().glob("*.jsonl"))
    try:
        store = open_store()
        sent = sum(_replay(store, log) for log in logs)
        _close_what_was_killed(store, logs)
        _crown(store)
    except UserError:
        raise
    except Exception as error:
        if _is_refusal(error):
            raise UserError(_refused()) from None
        problem = f"MLflow's store {location.uri()} does not answer ({_first_line(error)})"
        raise UserError(f"{problem}: start it, or set MLFLOW_TRACKING_URI") from None
    say(f"{location.uri()} has all {len(logs)} event logs: {sent} of them were not there, or not completely")


def _replay(store: "Store", log: Path) -> bool:
    """Send what the store lacks of one log; a run that somebody deleted in the UI stays deleted."""
    about = batch.head(read(log)[0])
    if about is None or store.is_deleted(about.training_key):
        return False
    return _sink(store, log).drain() > 0


def _crown(store: "Store") -> None:
    """Give every name's alias `champion` to the version that the rules in force say."""
    from pipeline.tracking import registry

    for model in registry.names(store):
        registry.crown(store, model)


def _close_what_was_killed(store: "Store", logs: list[Path]) -> None:
    """Mark runs whose last training was killed, so that the UI does not show them running for ever."""
    last: dict[str, list[dict[str, Any]]] = {}
    for log in logs:
        events, _ = read(log)
        about = batch.head(events)
        if about and about.stage == "train":
            last[about.training_key] = events
    for key, events in last.items():
        run = store.find(key)
        if run and run.info.status == "RUNNING" and events[-1]["event"] != "end" and _is_gone(events[0]):
            store.set_status(run.info.run_id, "KILLED", batch.milliseconds(events[-1]))


def _is_gone(begin: dict[str, Any]) -> bool:
    """Whether the process that wrote a `begin` event no longer runs; of another host's nothing is known."""
    if begin["host"] != socket.gethostname():
        return False
    try:
        return psutil.Process(begin["pid"]).create_time() > float(begin["time"])
    except psutil.NoSuchProcess:
        return True
