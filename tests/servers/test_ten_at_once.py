"""Promise: ten runs that log at once lose no figure, to a PostgreSQL-backed server with passwords or to the SQLite file of the default."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from tests.servers.postgresql import Server, mlflow_server
from tests.servers.writer import FIGURES, STEPS, key, value
from tests.workspace import PROJECT, environment

RUNS = range(1, 11)
LOGGED = """
SELECT tags.value, metrics.key, metrics.step, metrics.value FROM metrics JOIN tags ON tags.run_uuid = metrics.run_uuid
WHERE tags.key = 'training_key' AND metrics.key NOT LIKE 'system/%'
"""
STATUS = "SELECT status, COUNT(*) FROM runs GROUP BY status"
BEHIND = "`python -m pipeline sync` brings it up to date"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as running:
        running.add("ada")
        yield running


def write(folder: Path, number: int, home: str = "one", **extra: str) -> subprocess.Popen:
    """One run, in a process of its own; each `home` stands for a machine with a lock of its own."""
    env = environment(PYTHONPATH=str(PROJECT), QUINTET_TRACKING="on", QUINTET_HOME=str(folder / home), **extra)
    command = [sys.executable, "-m", "tests.servers.writer", str(number)]
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def write_all(folder: Path, homes: tuple[str, ...], **extra: str) -> None:
    """Ten runs at once; where the machine is so busy that a sink was too late, what the stage then advises is done."""
    processes = [write(folder, number, homes[number % len(homes)], **extra) for number in RUNS]
    said = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(RUNS), said
    assert all(text == "" or BEHIND in text for text in said), said
    for home in homes if any(said) else ():
        env = environment(PYTHONPATH=str(PROJECT), QUINTET_HOME=str(folder / home), **extra)
        subprocess.run([sys.executable, "-m", "pipeline", "sync"], cwd=folder, env=env, check=True, timeout=600)


def assert_nothing_is_lost(cursor) -> None:
    """Every figure of every step of every run, once, and no other; asked of the database itself."""
    cursor.execute(LOGGED)
    found = [row for row in cursor.fetchall() if row[1] in FIGURES]
    assert sorted(found) == sorted((key(n), f, step, value(n, f, step)) for n in RUNS for f in FIGURES for step in STEPS)
    cursor.execute(LOGGED)
    assert sorted(row[3] for row in cursor.fetchall() if row[1] == "trained.parameters") == [1000 + number for number in RUNS]
    cursor.execute(STATUS)
    assert cursor.fetchall() == [("FINISHED", len(RUNS))]


def test_on_postgresql_behind_a_password(server: Server, tmp_path: Path) -> None:
    write_all(tmp_path, ("one", "two"), **server.access("ada"))
    with psycopg2.connect(server.database) as connection, connection.cursor() as cursor:
        assert_nothing_is_lost(cursor)
    connection.close()


def test_on_the_default_s_sqlite(tmp_path: Path) -> None:
    write_all(tmp_path, ("one",))
    connection = sqlite3.connect(tmp_path / "mlflow.db")
    assert_nothing_is_lost(connection.cursor())
    connection.close()


def test_a_wrong_password_costs_one_line_and_nothing_else(server: Server, tmp_path: Path) -> None:
    process = write(tmp_path, 99, **server.access("ada", "guessed"))
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0 and (tmp_path / "metrics/model99/train.json").exists()
    (line,) = said.splitlines()
    assert f"{server.url} refuses the user 'ada' or the password: set MLFLOW_TRACKING_USERNAME" in line and "guessed" not in line
    env = environment(PYTHONPATH=str(PROJECT), QUINTET_HOME=str(tmp_path / "one"), **server.access("ada", "guessed"))
    again = subprocess.run([sys.executable, "-m", "pipeline", "sync"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert again.returncode == 2 and again.stderr.count("\n") == 1 and "refuses the user" in again.stderr
