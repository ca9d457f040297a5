"""Who goes to which split, so that nothing of validation or test is seen in training."""

import hashlib
from collections import deque
from collections.abc import Mapping

from pipeline.schema.data import Split


def uniform(seed: int, group: str) -> float:
    """A number in [0, 1) that is a function of seed and group alone."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{group}".encode(), digest_size=8).digest(), "little") / 2.0**64


def by_hash(seed: int, group: str, split: Split) -> str:
    """The split of a group among very many: shares are met on average, and other groups have no influence."""
    place = uniform(seed, group)
    return "validation" if place < split.validation else "test" if place < split.validation + split.test else "train"


def by_size(seed: int, sizes: Mapping[str, int], split: Split) -> dict[str, str]:
    """The split of each of a few groups of given sizes.

    In the order of their hashes, groups go to validation until one more would take it further from its share, then to test, and
    what is left to training.
    """
    order = deque(sorted(sizes, key=lambda group: (uniform(seed, group), group)))
    total, chosen = sum(sizes.values()), {}
    for name, share in (("validation", split.validation), ("test", split.test)):
        filled = 0
        while share and order and (not filled or abs(filled + sizes[order[0]] - share * total) < abs(filled - share * total)):
            group = order.popleft()
            chosen[group], filled = name, filled + sizes[group]
    return chosen | dict.fromkeys(order, "train")


def contiguous_cuts(characters: int, split: Split) -> tuple[int, int]:
    """Where validation and test begin in a text of so many characters."""
    return int(characters * (1 - split.validation - split.test)), int(characters * (1 - split.test))
