"""Keeps the C library's allocator from holding on to memory in a process that runs for a month.

Pictures are allocated on one thread and freed on another. By default glibc gives each thread an arena of its own and
raises the size up to which blocks stay in them whenever a large block is freed, so that free memory scatters over
arenas and the process grows for an hour though nothing is kept (L7 in docs/results/reliability.md). Two arenas, and
pictures straight from the kernel, cost some page faults for each frame instead.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

ARENAS: Final = 2
LARGE_BYTES: Final = 256 * 1024

# of <malloc.h>
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8


def tune_malloc() -> bool:
    """Call once, before threads are started. Does nothing where the environment sets the allocator's limits itself.

    :returns: whether the allocator took it; another C library than glibc does not
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ:
        return False
    try:
        set_limit = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(set_limit(_M_ARENA_MAX, ARENAS) and set_limit(_M_MMAP_THRESHOLD, LARGE_BYTES))
