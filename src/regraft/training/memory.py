"""Memory between the steps of training on a CPU: kept, not given back and asked for again.

A step takes and frees hundreds of megabytes. The GNU C library gives large blocks back to the
system at once, which fills each page with zeros when it is next asked for: a third of a step at
192 px on two cores (benchmarks/memory.py). The options are those of mallopt(3).
"""

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import MappingProxyType

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
USUAL: Mapping[int, int] = MappingProxyType(
    {TRIM_THRESHOLD: 128 * 1024, TOP_PAD: 128 * 1024, MMAP_MAX: 65536}
)
KEPT: Mapping[int, int] = MappingProxyType({TRIM_THRESHOLD: -1, TOP_PAD: 64 * 2**20, MMAP_MAX: 0})

_entered = 0


@contextmanager
def kept_memory() -> Iterator[None]:
    """While it is entered, freed memory stays with the process; afterwards it is given back.

    Does nothing with another C library. May be entered again while it is entered.
    """
    global _entered
    _entered += 1
    try:
        _set(KEPT)
        yield
    finally:
        _entered -= 1
        if not _entered:
            _set(USUAL)
            if library := _library():
                library.malloc_trim(0)


def _set(options: Mapping[int, int]) -> None:
    if library := _library():
        for option, value in options.items():
            library.mallopt(option, value)


@cache
def _library() -> ctypes.CDLL | None:
    """The GNU C library, if it is that which the process uses."""
    try:
        found = ctypes.CDLL(None)
        return found if found.gnu_get_libc_version and found.mallopt else None
    except (OSError, AttributeError, TypeError):  # Windows, macOS, musl
        return None
