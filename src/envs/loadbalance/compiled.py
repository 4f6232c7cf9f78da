"""How the simulator's functions are compiled.

Only the entry points are cached on disk. Everything else is a *part*: inlined into whatever calls it, so that the arrays
of a `World` cost nothing to pass around. numba notices changes in an entry point's own file only; `sources` covers the
files that its parts are in.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from numba import njit

part: Callable[..., Any] = partial(njit, nogil=True, error_model="numpy", _nrt=False, forceinline=True)
"""Decorator of a function that is inlined into its callers."""

shared_part: Callable[..., Any] = partial(njit, nogil=True, error_model="numpy", _nrt=False)
"""Decorator of a larger function with several callers, which is called."""

entry_point: Callable[..., Any] = partial(njit, nogil=True, error_model="numpy", _nrt=False, cache=True)
"""Decorator of a function that Python calls; compiled once and kept in a cache."""


def sources() -> int:
    """A checksum of the simulator's source files, for the cache key of entry points."""
    here = Path(__file__).parent
    files = [*sorted(here.glob("*.py")), here.parents[1] / "components" / "rng.py"]
    return zlib.crc32(b"".join(file.read_bytes() for file in files))
