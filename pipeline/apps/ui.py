"""`python -m pipeline ui`: MLflow's own pages on the project's store, opened at the table that compares the runs."""

import os
import sys

from pipeline.apps.sync import open_store
from pipeline.progress import say
from pipeline.tracking import location, view


def command(port: int) -> list[str]:
    """What serves the store on this machine; a person may type it as well."""
    return ["mlflow", "ui", "--backend-store-uri", location.uri(), "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]


def serve(port: int) -> None:
    """Say the address and become the server; of a store that is a server already, only say the address."""
    route = view.route(open_store().experiment)
    if location.uri().startswith("http"):
        say(f"{location.uri().rstrip('/')}{route}")
        return
    say(f"http://127.0.0.1:{port}{route}")
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", *command(port)])
