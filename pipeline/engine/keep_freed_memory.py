"""Keep freed memory for the next unit, in processes that are ours: commands, and workers of any engine.

A unit fills a few arrays of 40 to 80 MB and frees them. By default the C library of Linux gives each of them back to
the system at once, and the next unit faults in and zeroes the same pages again: of packing that was 6 % of the time.
"""

from __future__ import annotations

import ctypes
import functools

KEPT_BYTES = 256 << 20
"""Freed memory that a process keeps at most at the end of its heap."""
LARGEST_KEPT_BYTES = 128 << 20
"""Larger arrays, which documents of unusual length need, are given back when they are freed."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as malloc.h of the GNU C library numbers them


@functools.cache
def keep_freed_memory() -> None:
    """Tell the C library, once; on others than that of GNU nothing happens, which costs time alone."""
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
        library.mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
