"""How this process asks the operating system for memory."""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # names and numbers of mallopt(3)


def reuse_large_blocks() -> bool:
    """Keep freed memory for the next allocation instead of handing it back to the kernel; says whether it could.

    An update allocates and frees the same tens of megabytes again and again. By default glibc maps each large block
    anew, and the kernel clears every page of it: on batches of 100 MB that took more than half of an update. The
    process keeps its largest size until it ends. Other C libraries are left alone.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def require_memory(n_bytes: int, what: str, instead: str) -> None:
    """Refuse what would not fit into memory, before anything is allocated.

    Args:
        n_bytes: how much it takes.
        what: it is, for people.
        instead: what to do, for people.

    Raises:
        ValueError: the machine has less.
    """
    there = _memory()
    if there is not None and n_bytes > there:
        raise ValueError(f"there is no memory for {what}: {n_bytes / 1e9:,.0f} GB of {there / 1e9:,.0f} GB; {instead}")


def _memory() -> int | None:
    """Bytes of memory that this machine has, ``None`` where that cannot be asked."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
