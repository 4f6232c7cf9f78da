"""How functions are compiled.

Only the entry point is called from Python and cached on disk. Everything else is a *part* of it. No part allocates, so
arrays are passed without counting references, which would take most of the time; and no part can be called from Python,
which halves the time of compilation.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from numba import njit

_common = partial(njit, nogil=True, error_model="numpy", _nrt=False)
_internal = partial(_common, no_cpython_wrapper=True, no_cfunc_wrapper=True)

part: Callable[..., Any] = partial(_internal, forceinline=True)
"""Decorator of a function that is inlined into its callers, at no cost for its arguments."""

shared_part: Callable[..., Any] = _internal
"""Decorator of a function with several callers that is too large to be inlined."""

pasted_part: Callable[..., Any] = partial(_common, inline="always")
"""Decorator of a function that returns records, which numba can only do by pasting it into its callers."""

entry_point: Callable[..., Any] = partial(_common, cache=True)
"""Decorator of a function that Python calls; compiled once and kept in a cache."""


def sources(*files: Path) -> int:
    """A checksum of source files.

    numba recompiles a cached function when its own file changes, but not for changes in the files of its parts; with
    this number in its closure it does.
    """
    return zlib.crc32(b"".join(file.read_bytes() for file in sorted(files)))
