"""How many threads a run uses: decided once, at its start."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeVar

T = TypeVar("T")

_second: ContextVar[ThreadPoolExecutor | None] = ContextVar("second thread", default=None)
_LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Threads(NamedTuple):
    """The threads that a run uses.

    Attributes:
        torch: number of threads of one torch operation.
        second: whether updates use a second Python thread, for target networks and gradients of weights.
    """

    torch: int
    second: bool

    def __str__(self) -> str:
        second = f"{'a' if self.second else 'no'} second one for targets and gradients"
        return f"{self.torch} for torch, {second}, 1 for other libraries"


def decide(asked: int | None, jobs: int, collecting: bool) -> Threads:
    """Decide how many threads one run uses.

    Several threads for one torch operation change the last bits of results, and are slower on few or shared cores; the
    default is therefore one, on every machine. The second Python thread does not change results.

    Args:
        asked: threads that learning may use; ``None``: 2 if this run has at least 2 cores for itself, else 1.
        jobs: number of runs at the same time, which share the cores.
        collecting: whether episodes are collected while the learner updates, which takes one core.
    """
    if asked is None:
        asked = 2 if available_cores() // jobs - collecting >= 2 else 1
    return Threads(torch=max(1, asked // 2), second=asked > 1)


@contextmanager
def second_thread(second: ThreadPoolExecutor | None) -> Iterator[None]:
    """Inside the ``with`` block, `in_background` uses this thread; ``None``: no second thread."""
    token = _second.set(second)
    try:
        yield
    finally:
        _second.reset(token)


def in_background(call: Callable[[], T]) -> Callable[[], T]:
    """Start a call whose result is needed later; returns a function that waits for the result and returns it.

    The call starts at once in the second thread, if there is one (`second_thread`), else when its result is needed.
    Torch's gradient mode is set per thread, so the call itself must enter `torch.no_grad` if it needs no gradients.
    """
    second = _second.get()
    return call if second is None else second.submit(call).result


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def restrain_libraries() -> None:
    """Set BLAS, OpenMP and numba to one thread each in this process and those it starts, unless set otherwise.

    Our matrix products are too small to gain from more threads, and waiting threads take cores from each other. Call
    this before NumPy is imported.
    """
    for name in _LIBRARIES:
        os.environ.setdefault(name, "1")


@contextmanager
def restrained_processes() -> Iterator[None]:
    """Inside the ``with`` block, `restrain_libraries` applies to processes that are started; this one is unchanged."""
    added = [name for name in _LIBRARIES if name not in os.environ]
    restrain_libraries()
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
