"""Near-duplicate documents, found by sketches of their word sequences, so that copies never fall into different splits.

Broder, "On the resemblance and containment of documents" (1997): a document is the set of its runs of five words, its sketch the
smallest hashes of that set, and the overlap of two sketches estimates the Jaccard resemblance of the sets.
"""

import zlib
from collections import Counter
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

RUN = 5
SKETCH = 128
RESEMBLANCE = 0.5

Hashes = npt.NDArray[np.uint64]
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def groups(documents: Iterable[tuple[str, str]]) -> dict[str, str]:
    """For each (id, text) the id of the first document of its group of near-duplicates (itself, where it has none)."""
    group: dict[str, str] = {}
    sketches: dict[str, Hashes] = {}
    holder: dict[int, str] = {}
    for id, text in documents:
        own = sketch(text)
        shared = Counter(holder[value] for value in own.tolist() if value in holder)
        similar = [other for other in shared if resemblance(own, sketches[other]) >= RESEMBLANCE]
        group[id] = min((group[other] for other in similar), default=id)
        for joined in {group[other] for other in similar} - {group[id]}:
            group |= {member: group[id] for member, first in group.items() if first == joined}
        sketches[id] = own
        holder |= dict.fromkeys(own.tolist(), id)
    return group


def sketch(text: str) -> Hashes:
    """The smallest hashes of a text's runs of words, sorted, at most `SKETCH`; case and white space do not matter."""
    words = np.array([zlib.crc32(word.encode()) for word in text.lower().split()], dtype=np.uint64)
    runs = np.zeros(max(len(words) - RUN + 1, min(len(words), 1)), dtype=np.uint64)
    for place in range(min(RUN, len(words))):
        runs = (runs + words[place : place + len(runs)]) * _MULTIPLIER
        runs ^= runs >> np.uint64(29)
    return np.unique(runs)[:SKETCH]


def resemblance(first: Hashes, second: Hashes) -> float:
    """Estimated Jaccard resemblance of two documents from their sketches: the share of the union's smallest hashes that both have."""
    union = np.union1d(first, second)[:SKETCH]
    return float(np.isin(union, np.intersect1d(first, second)).mean()) if len(union) else 0.0
