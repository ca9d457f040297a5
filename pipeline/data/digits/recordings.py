"""The Free Spoken Digit Dataset (Jakobovski and others, CC BY-SA 4.0): WAV files `{digit}_{speaker}_{index}.wav` at 8 kHz.

The archive's bytes are not pinned, since the server makes it anew whenever it is asked; what is pinned is the recordings' names and bytes.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline import io
from pipeline.data.digits import waves
from pipeline.data.documents import Document
from pipeline.data.sources import Fetched, archive, http, store
from pipeline.errors import UserError
from pipeline.schema.data import FsddAudio

MIRRORED = "fsdd_recordings.tar.xz"
"""A name under which a mirror folder may have the archive, beside that of the URL."""
NAME = re.compile(r"(?:.*/)?([0-9])_([a-z]+)_([0-9]{1,2})\.wav")


def fetch(source: FsddAudio, downloads: Path) -> Fetched:
    """All recordings, once downloaded and checked; raises `UserError`."""
    kept = downloads / f"fsdd-{source.sha256}"
    with io.exclusive(downloads / f"{kept.name}.lock", f"the download of {source.url}", store.PATIENCE):
        if not kept.is_file():
            part = kept.with_suffix(".part")
            if found := http.mirrored(source, MIRRORED):
                store.copy(found, part)
            else:
                http.download(source, part)
            if (sha256 := digest(part, source.url)) != source.sha256:
                part.unlink()
                raise UserError(
                    f"the recordings of {source.url} have SHA-256 {sha256}, but {source.sha256} is pinned: correct url or sha256"
                )
            part.replace(kept)
    return Fetched(_documents(kept, source.url), {"kind": "fsdd", "url": source.url, "sha256": source.sha256})


def digest(file: Path, what: str) -> str:
    """SHA-256 of lines `name SHA-256` of all recordings in an archive, in the order of their names; raises `UserError`."""
    with archive.members(file, "**/*.wav", what) as found:
        lines = sorted(f"{Path(name).name} {io.sha256(path)}\n" for name, path in found.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _documents(file: Path, what: str) -> Iterator[Document]:
    with archive.members(file, "**/*.wav", what) as found:
        named = {}
        for name, path in found.items():
            match = NAME.fullmatch(name)
            if match is None:
                raise UserError(f"{name} in {what} is not named digit_speaker_index.wav: name the archive of FSDD by `url`")
            named[f"audio/{match[1]}/{match[2]}/{int(match[3]):02d}"] = path
        for id in sorted(named):
            yield Document(id, waves.to_text(named[id].read_bytes()))
