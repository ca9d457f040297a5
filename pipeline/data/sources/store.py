"""Downloads that were verified once are kept under their SHA-256, so that a second run needs no network."""

from pathlib import Path

from pipeline import io
from pipeline.errors import UserError


def find(downloads: Path, sha256: str) -> Path | None:
    """The kept file of that hash, or `None`; one that is damaged meanwhile is removed."""
    file = downloads / sha256
    if file.is_file() and io.sha256(file) != sha256:
        file.unlink()
    return file if file.is_file() else None


def keep(file: Path, sha256: str, downloads: Path, what: str) -> Path:
    """Put a fetched file under its hash; raises `UserError` where the hash is another one."""
    found = io.sha256(file)
    if found != sha256:
        raise UserError(
            f"{what} has SHA-256 {found}, but the configuration pins {sha256}: it is not the file that was meant, or the pin is wrong"
        )
    downloads.mkdir(parents=True, exist_ok=True)
    kept = downloads / sha256
    io.write_bytes(kept, file.read_bytes())
    return kept
