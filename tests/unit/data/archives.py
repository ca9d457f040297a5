"""Archives that tests make."""

import io
import tarfile
import zipfile
from pathlib import Path


def make(path: Path, members: dict[str, bytes]) -> Path:
    """A zip or tar of the given members, by the suffix of its name."""
    if path.suffix in (".zip", ".whl"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive_file:
            for name, data in members.items():
                archive_file.writestr(name, data)
    else:
        with tarfile.open(path, f"w:{path.suffix[1:].replace('tar', '')}") as archive_file:
            for name, data in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive_file.addfile(entry, io.BytesIO(data))
    return path
