"""A PostgreSQL of Debian's in a temporary folder, and before it MLflow's server with users and passwords."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.services import debian, unavailable
from tests.workspace import environment

SETTINGS = ("listen_addresses=", "fsync=off", "max_connections=60")
ADMIN, PASSWORD = "admin", "long enough for MLflow"
CONFIG = """[mlflow]
default_permission = READ
database_uri = {database}
admin_username = {admin}
auth_cache_ttl_seconds = 60
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


class Server(NamedTuple):
    """A running MLflow server, and the address of its database."""

    url: str
    database: str

    def access(self, user: str, password: str = PASSWORD) -> dict[str, str]:
        """The environment of a stage that logs there as a user."""
        return {"MLFLOW_TRACKING_URI": self.url, "MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}

    def add(self, user: str) -> None:
        body = {"username": user, "password": PASSWORD}
        httpx.post(f"{self.url}/api/2.0/mlflow/users/create", json=body, auth=(ADMIN, PASSWORD), timeout=60).raise_for_status()


@contextlib.contextmanager
def database() -> Iterator[str]:
    """Address of an empty database of a PostgreSQL that is reached through a socket in its folder only."""
    debian("postgresql", commands=("pg_ctlcluster",))
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
    if programs is None or not (programs / "initdb").exists():
        unavailable("Debian's PostgreSQL is not where its package puts it")
    folder = Path(tempfile.mkdtemp(prefix="quintet-postgresql-"))
    who = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}  # it refuses to run as root
    if who:
        shutil.chown(folder, "postgres", "postgres")
    options = {"cwd": folder, **who}
    subprocess.run([programs / "initdb", "-D", "data", "-U", "quintet", "-A", "trust"], check=True, capture_output=True, **options)
    settings = [word for setting in SETTINGS for word in ("-c", setting)]
    server = subprocess.Popen([programs / "postgres", "-D", "data", "-k", folder, *settings], stderr=subprocess.DEVNULL, **options)
    try:
        create = [programs / "createdb", "-h", folder, "-U", "quintet", "mlflow"]
        _until(lambda: subprocess.run(create, capture_output=True).returncode == 0, "PostgreSQL")
        yield f"postgresql://quintet@/mlflow?host={folder}"
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[Server]:
    """MLflow's server on PostgreSQL, which asks for name and password."""
    with database() as address, socket.socket() as free:
        (folder / "auth.ini").write_text(CONFIG.format(database=address, admin=ADMIN))
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        secrets = {"MLFLOW_FLASK_SERVER_SECRET_KEY": "for a test", "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD}
        command = ["mlflow", "server", "--app-name", "basic-auth", "--backend-store-uri", address, "--workers", "2"]
        command += ["--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port)]
        spared = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        env = environment(**secrets, **spared, MLFLOW_AUTH_CONFIG_PATH=str(folder / "auth.ini"))
        with (folder / "server.txt").open("wb") as said:
            process = subprocess.Popen([sys.executable, "-m", *command], env=env, stdout=said, stderr=said, start_new_session=True)
        server = Server(f"http://127.0.0.1:{port}", address)
        try:
            _until(lambda: _answers(server.url), f"MLflow's server (see {folder / 'server.txt'})", process)
            yield server
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/health").is_success
    return False


def _until(done, what: str, process: subprocess.Popen | None = None, seconds: float = 300) -> None:
    """Wait for a server; fail where it does not come, or ends."""
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until and (process is None or process.poll() is None), f"{what} does not answer"
        time.sleep(0.1)
