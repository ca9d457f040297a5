"""Independent jobs on two threads, whose results do not depend on how many cores there are, and the memory that they leave."""

import contextlib
import ctypes
import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

WORKERS = 2
"""Each holds the arrays of a job, so that more would cost memory too."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(job: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`job` of each item in their order, `WORKERS` at a time, without gradients; no more than these results are held.

    What the jobs freed goes back to the system once all are done.
    """

    def plain(item: Item) -> Result:
        with torch.no_grad():  # which is a thread's own
            return job(item)

    left = iter(items)
    while some := list(islice(left, WORKERS)):
        yield from _pool().map(plain, some)
    give_back_memory()


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """The same threads always: the C library keeps freed memory for each thread that there ever was."""
    return ThreadPoolExecutor(WORKERS)


def give_back_memory() -> None:
    """Let the system have what was freed: glibc keeps hundreds of megabytes of it otherwise."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
