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

MMAP_THRESHOLD = -3
"""glibc's `M_MMAP_THRESHOLD`: from how many bytes on an array gets memory of its own, which goes back to the system once it is freed."""
LARGE, LARGEST = 1 << 20, 32 << 20
"""That here, and what glibc raises it to if left alone; it then keeps such arrays in a heap for each thread, full of holes."""

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


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Within it, memory of large arrays goes back to the system at once: half the peak of a large model's, for a few page faults."""
    with _c_library() as library:
        library.mallopt(MMAP_THRESHOLD, LARGE)
    try:
        yield
    finally:
        with _c_library() as library:
            library.mallopt(MMAP_THRESHOLD, LARGEST)


def give_back_memory() -> None:
    """Let the system have what was freed: glibc keeps hundreds of megabytes of it otherwise."""
    with _c_library() as library:
        library.malloc_trim(0)


@contextlib.contextmanager
def _c_library() -> Iterator[ctypes.CDLL]:
    """The C library; what only glibc has is left out where there is another."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        yield ctypes.CDLL(None)
