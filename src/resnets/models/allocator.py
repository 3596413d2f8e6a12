"""The C library's memory: training frees and takes the same large blocks in every step.

glibc gives large free blocks back to the system and asks for them again; the system fills every page that it gives
with zeros first. That is a twentieth of an eager step and a sixth of a compiled one (docs/LOG.md). With other C
libraries nothing is changed.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

# Of malloc.h; the values are what glibc's own adaptation ends in on 64 bits.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20, _TOP_PAD: 128 << 10}
_KEEPING = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 64 << 20}  # one heap, which never shrinks

_inside, _counting = 0, threading.Lock()


@contextmanager
def keeping_freed(enabled: bool) -> Iterator[None]:
    """Within it, memory that tensors on the processor no longer use stays with the process, for the next ones.

    Not where address space is limited (`ulimit -v`): of a heap that only grows, too little is left in one piece. Nor
    where the user set malloc's options himself (`MALLOC_…` or `GLIBC_TUNABLES` in the environment). The options belong
    to the process: of several that overlap, the last to end puts the usual ones back, which from then on are fixed.
    """
    global _inside
    library = _glibc() if enabled else None
    library = None if library and _decided() else library
    if library is None:
        yield
        return
    with _counting:
        _inside += 1
        for option, value in _KEEPING.items():
            library.mallopt(option, value)
    try:
        yield
    finally:
        with _counting:
            _inside -= 1
            if not _inside:
                for option, value in _USUAL.items():
                    library.mallopt(option, value)
                library.malloc_trim(0)


def give_back() -> None:
    """Give all free memory back to the system."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
        return library if library.gnu_get_libc_version and library.mallopt and library.malloc_trim else None
    except (OSError, AttributeError, TypeError):
        return None


def _decided() -> bool:
    if any(key.startswith("MALLOC_") for key in os.environ) or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return True
    import resource  # which not every system has; those with glibc do

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
