"""How this process asks the operating system for memory, and how much there is."""

from __future__ import annotations

import ctypes
import sys
from itertools import pairwise
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # names and numbers of mallopt(3)


def reuse_large_blocks() -> bool:
    """Keep freed memory for the next allocation instead of handing it back to the kernel; says whether it could.

    An update allocates and frees the same tens of megabytes again and again. By default glibc maps each large block
    anew, and the kernel clears every page of it, which takes a large part of an update on large batches. The price is
    that the process keeps its largest size until it ends. Other C libraries are left alone.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def require_memory(n_bytes: float, what: str, instead: str) -> None:
    """Refuse what does not fit into memory, before it is allocated.

    Args:
        n_bytes: about how many it needs.
        what: takes them, e.g. ``the replay buffer``.
        instead: what to change, e.g. ``lower replay.buffer_episodes``.

    Raises:
        ValueError: there is less memory than that; on systems that do not tell how much there is, never.
    """
    available = _available()
    if available is not None and n_bytes > available:
        raise ValueError(
            f"{what} would take {_size(n_bytes)} of memory, of which {_size(available)} are there; {instead}"
        )


def require_memory_for_weights(n_weights: int, what: str, instead: str) -> None:
    """`require_memory` for a network in training: weights, gradients, two moments of Adam, and a target network."""
    require_memory(5 * 4 * n_weights, what, instead)


def linear_weights(widths: list[int]) -> int:
    """Number of weights of linear layers with biases, one after the other, from the width of the input on."""
    return sum((before + 1) * after for before, after in pairwise(widths))


def gru_weights(input_dim: int, width: int) -> int:
    """Number of weights of a GRU."""
    return 3 * width * (input_dim + width + 2)


def _available() -> int | None:
    """Bytes that could be allocated without swapping, as Linux estimates them."""
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(found[0]) if found else None


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:,.3g} GB" if n_bytes < 1e12 else f"{n_bytes / 1e9:,.0f} GB"
