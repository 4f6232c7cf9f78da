"""How functions are compiled.

Only the entry point is called from Python and cached on disk. Everything else is a *part* of it. No part allocates, so
that arrays are passed without counting references, and no part can be called from Python: both save time, the first
when functions run, the second when they are compiled.
"""

from __future__ import annotations

import os
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numba.core.event import Event, Listener, install_listener, trigger_event

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

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


def constants(n: int) -> Iterator[Any]:
    """The numbers 0 to ``n - 1`` as names for choices: of a plain number that is passed on as it is written, numba
    makes a type of its own, and compiles everything that it is passed to once more; of these it does not.
    """
    return map(np.int64, range(n))


COMPILING = "compiling for this machine, which may take a minute (first use only) …"


@contextmanager
def announced_compilation(after_s: float = 2.0) -> Iterator[None]:
    """Inside, standard error says once that something is being compiled, if that takes longer than a moment.

    numba says when it compiles something that its cache does not hold; a call of a compiled function costs no more.

    Args:
        after_s: seconds of compiling after which it is said.
    """
    with install_listener("numba:compile", _Announcement(after_s)):
        yield


class _Announcement(Listener):
    """numba holds a lock while it compiles, so the methods are never called from two threads at once."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._depth = 0  # compiling a function compiles its parts
        self._timer: threading.Timer | None = None
        self._told = False

    def on_start(self, event: Event) -> None:
        self._depth += 1
        if self._depth == 1 and not self._told:
            self._timer = threading.Timer(self._after_s, self._tell)
            self._timer.daemon = True
            self._timer.start()

    def on_end(self, event: Event) -> None:
        self._depth -= 1
        if self._depth == 0 and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self) -> None:
        self._told = True
        with suppress(OSError, ValueError):  # nobody reads standard error, or it is closed
            print(COMPILING, file=sys.stderr, flush=True)


def compile_once(function: Any, *arguments: Any) -> None:
    """Call an entry point for the first time; if it was called before, do nothing.

    Of processes that do this at once, one compiles and the others wait for what it puts into the cache: the jobs of a
    sweep would otherwise all compile the same, for a minute each. Where files cannot be locked, they do.

    Args:
        function: the entry point.
        arguments: such that it has nothing to do.
    """
    if function.signatures:
        return
    with trigger_event("numba:compile"), ExitStack() as stack:  # a wait is announced as compiling is
        with suppress(OSError):
            folder = Path(function.stats.cache_path)
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / f"{function.__name__}.lock", os.O_RDWR | os.O_CREAT, 0o644)
            stack.callback(os.close, descriptor)  # which unlocks it
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        function(*arguments)


def sources(*files: Path) -> int:
    """A checksum of source files.

    numba recompiles a cached function when its own file changes, but not for changes in the files of its parts; with
    this number in its closure it does.
    """
    return zlib.crc32(b"".join(file.read_bytes() for file in sorted(files)))
