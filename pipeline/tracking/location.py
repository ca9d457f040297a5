"""Where the MLflow store is: a server by MLFLOW_TRACKING_URI, else SQLite in the repository's root (from DVC's temporary folders too)."""

import os
from pathlib import Path

from pipeline import paths

EXPERIMENT = "quintet"


def enabled() -> bool:
    """Whether stages feed MLflow: QUINTET_TRACKING=off leaves the event log alone."""
    return os.environ.get("QUINTET_TRACKING", "on").lower() not in ("off", "0", "no", "false")


def uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{paths.repository().resolve() / 'mlflow.db'}"


def artifacts() -> str | None:
    """Where a new experiment of the default store keeps its artifacts; a server named by MLFLOW_TRACKING_URI decides for itself."""
    return None if os.environ.get("MLFLOW_TRACKING_URI") else (paths.repository().resolve() / "mlartifacts").as_uri()


def logs() -> Path:
    """Folder of the event logs."""
    return paths.private() / "events"
