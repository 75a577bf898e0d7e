"""Tune the C library's allocator for tensors of hundreds of megabytes that come and go, on Linux with glibc."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

# In malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
MOST = 2**31 - 1


def tune_allocator() -> None:
    """Keep freed memory in this process for the next tensor, instead of returning it after each layer.

    By default every large tensor is mapped anew and zeroed page by page by the system, which is a fifth of the time
    that a network takes on a CPU. And glibc has up to eight heaps per core, each of which keeps what was freed in it;
    two are enough. Call release_memory when the work is done. Elsewhere than on glibc this does nothing.
    """
    if (libc := _glibc()) is not None:
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, MOST)
        libc.mallopt(M_ARENA_MAX, 2)


def release_memory(above: int = 0) -> None:
    """Return the free memory of this process to the system, in milliseconds, if it takes more than `above` bytes."""
    libc = _glibc()
    if libc is not None and _resident_bytes() >= above:
        libc.malloc_trim(0)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _glibc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL("libc.so.6")
        return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
    except OSError:
        return None
